//! Who gets at what: other users, slow and greedy clients, planted links; and what is written down.
//! What is sent by a web page is the business of `tcp`.

mod another_user;
mod home;
mod limits;
mod secrets;
mod slow;
mod wire;
