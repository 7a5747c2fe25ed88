//! The reports, from data made up for the purpose: what is concluded, the pages, the files.

#![allow(clippy::disallowed_methods, reason = "the reports lie in files")]

mod ablations;
mod answer;
mod faults;
mod file;
mod left_out;
mod made;
mod page;
mod parts;
#[path = "../sample/mod.rs"]
mod sample;
mod systems;
