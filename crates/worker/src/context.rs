//! What a session is told at its start.
use sessiond_queue::{error::*,ids::*,store::Store};
/// Placeholder.
pub async fn context(_:&dyn Store,_:&str,_:Option<SessionId>,_:usize)->Result<Option<String>,StoreError>{Ok(None)}
