//! Where the API listens, and who may connect to the unix socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use axum::serve::Listener;
use nix::unistd::geteuid;
use tokio::net::unix::SocketAddr;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::wire::layout::Layout;
use crate::wire::socket::socket_address;

/// The listening sockets of a worker.
pub struct Listeners {
    /// Always there.
    pub unix: PeerChecked,
    /// Absent when it is not wanted or its port is taken.
    pub tcp: Option<TcpListener>,
    /// Why it is absent though it is wanted.
    pub tcp_problem: Option<String>,
}

/// The unix socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("bind the socket {path}")]
pub struct BindError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Listeners {
    /// Binds. The caller holds the instance lock, so a socket file that is there is a dead
    /// worker's.
    pub async fn bind(layout: &Layout, tcp_port: Option<u16>) -> Result<Self, BindError> {
        let unix = bind_unix(layout).map_err(|source| BindError {
            path: layout.socket(),
            source,
        })?;
        let (tcp, tcp_problem) = match tcp_port {
            None => (None, None),
            Some(port) => match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => (Some(listener), None),
                Err(error) => {
                    let problem = format!("port {port} cannot be used: {error}");
                    tracing::warn!(port, %error, "no TCP side: the port cannot be used");
                    (None, Some(problem))
                }
            },
        };
        Ok(Self {
            unix,
            tcp,
            tcp_problem,
        })
    }
}

fn bind_unix(layout: &Layout) -> io::Result<PeerChecked> {
    let path = layout.socket();
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The directory is 0700, so nobody else reaches the socket before its mode is set.
    let address = socket_address(&path)?;
    let listener = UnixListener::bind(address.path())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(PeerChecked(listener))
}

/// A unix listener that drops connections of other users. Modes of socket files are not honoured
/// everywhere; the peer's uid is.
pub struct PeerChecked(UnixListener);

impl Listener for PeerChecked {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            // Axum's own listener waits out errors such as "too many open files".
            let (stream, address) = Listener::accept(&mut self.0).await;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == geteuid().as_raw() || peer.uid() == 0 => {
                    return (stream, address);
                }
                Ok(peer) => {
                    tracing::warn!(peer.uid = peer.uid(), "connection of another user refused")
                }
                Err(error) => tracing::warn!(%error, "connection without a peer refused"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
