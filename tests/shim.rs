//! The shim by itself: what it makes of its child, and that nothing of a tree survives its end,
//! however the child behaves. The worker's side of the control socket is played by the test.

#[path = "shim/rig.rs"]
mod rig;

#[path = "shim/end.rs"]
mod end;
#[path = "shim/nasty.rs"]
mod nasty;
#[path = "shim/start.rs"]
mod start;
mod untouchable;
