//! The one integration-test binary: behaviour seen at the edges of the built programs, one module
//! a feature.

mod hook_client;
