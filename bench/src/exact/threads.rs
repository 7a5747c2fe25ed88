//! Work for as many threads as there are processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use consensus::Violation;

/// Does a job for each of them, whoever has time, in portions of so many. The results are in the order of the
/// items, whoever did which. `done` is told how many jobs were done since it was told last.
pub(super) fn share<I: Sync, T: Send>(
    items: &[I],
    portion: usize,
    job: impl Fn(&I) -> Result<T, Violation> + Sync,
    done: impl Fn(u64) + Sync,
) -> Result<Vec<T>, Violation> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let portions: Vec<&[I]> = items.chunks(portion).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<(), Violation> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(portion) = portions.get(number) else { return Ok(()) };
            let results_of_portion = portion.iter().map(&job).collect::<Result<Vec<T>, _>>()?;
            done(portion.len() as u64);
            let mut results = results.lock().expect("no holder of this lock panics");
            results.push((number, results_of_portion));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("simulations do not panic"))
    })?;
    let mut results = results.into_inner().expect("no holder of this lock panics");
    results.sort_unstable_by_key(|(number, _)| *number);
    Ok(results.into_iter().flat_map(|(_, results)| results).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items_and_each_job_is_done_once() {
        let items: Vec<u64> = (0..1_000).collect();
        let told = Mutex::new(0);
        let squares =
            share(&items, 7, |item| Ok(item * item), |more| *told.lock().unwrap() += more);
        let expected: Vec<u64> = items.iter().map(|item| item * item).collect();
        assert_eq!((squares.unwrap(), told.into_inner().unwrap()), (expected, 1_000));
    }

    #[test]
    fn what_breaks_a_law_ends_the_work() {
        let broken = |item: &u64| match item {
            13 => Err(Violation::new("no item is unlucky", item.to_string())),
            _ => Ok(()),
        };
        let items: Vec<u64> = (0..100).collect();
        assert!(share(&items, 3, broken, |_| ()).is_err());
        assert!(share(&items[..13], 3, broken, |_| ()).is_ok());
    }
}
