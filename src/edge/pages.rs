//! The pages, embedded in the binary; in debug builds they are read from `web/` as they are edited.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use protocol::ErrorCode;
use rust_embed::RustEmbed;

use super::answers::Refusal;

#[derive(RustEmbed)]
#[folder = "web/"]
#[exclude = "test/*"]
struct Files;

/// Scripts and styles come from this origin only, and nobody frames the page.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// One file by its name.
pub fn file(name: &str) -> Response {
    let Some(file) = Files::get(name) else { return Refusal::from(ErrorCode::NotFound).into_response() };
    let mut response = Response::new(axum::body::Body::from(file.data.into_owned()));
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(file.metadata.mimetype()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
