//! One file per API key.
//!
//! Each has `pub async fn handle(ctx: &RequestContext, request: …Request) -> …Response` and opens
//! with its key, versions, behaviour, KIPs and deviations. Wire structs stop here.
