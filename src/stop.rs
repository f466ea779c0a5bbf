//! The one signal that everything stops.

use tokio::sync::watch;

/// Resolves once the server is stopping, or when nobody is left to say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
