//! Children under the real shim: their life, their output, their end, and what is left after a
//! crash of anybody.

mod bench;
mod canary;
mod crash;
mod end;
mod identity;
mod inspect;
mod life;
mod limits;
mod output;
mod seccomp;
mod sweep;
mod unkillable;
