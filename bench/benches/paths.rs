//! How long the hot paths of a node take, each by itself: what a machine does, beside what `instructions`
//! counts of the same runs.

#![allow(missing_docs, reason = "criterion's macros make public items without docs")]
#![allow(clippy::disallowed_methods, reason = "what is measured is time")]

mod hot;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hot::Path;

fn measure<P: Path>(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group("paths");
    group.throughput(Throughput::Elements(P::ELEMENTS));
    // What a run takes is often prepared for longer than the run lasts.
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.sample_size(30);
    let mut path: Option<P> = None;
    group.bench_function(name, |bencher| {
        let path = path.get_or_insert_with(P::prepare);
        bencher.iter_custom(|count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let work = path.next();
                let began = Instant::now();
                let done = path.run(black_box(work));
                took += began.elapsed();
                path.check(black_box(done));
            }
            took
        });
    });
    group.finish();
}

macro_rules! measure_each {
    ($($name:ident: $path:ident, $what:literal;)*) => {
        fn paths(criterion: &mut Criterion) {
            $(measure::<hot::$path>(criterion, stringify!($name));)*
        }
    };
}
hot::for_each_path!(measure_each);

criterion_group!(benches, paths);
criterion_main!(benches);
