//! `torture`: ends trees that do not want to end, and counts who is left and who else was hit.

mod means;

fn main() {}
