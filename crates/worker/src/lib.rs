//! skeleton
pub mod clock;
pub mod config;
pub mod errors;
pub mod generator;
pub mod sessions;
pub mod wire;
pub mod agents { #[derive(Clone,Copy)] pub enum Agent{Generic} impl std::str::FromStr for Agent{ type Err=(); fn from_str(_:&str)->Result<Self,()> {Ok(Agent::Generic)}} }
pub mod digest { use sessiond_queue::{ids::*,types::*}; pub struct DigestMessage<'a>{pub seq:Seq,pub kind:&'a str,pub agent_id:Option<&'a str>,pub accepted_at:Timestamp,pub payload:&'a str} pub struct Digested{pub results:Vec<NewResult>,pub checkpoint:String} pub fn digest(_a:crate::agents::Agent,_c:Option<&str>,_m:&DigestMessage<'_>)->Digested{Digested{results:vec![],checkpoint:String::new()}} }
