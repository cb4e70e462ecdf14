//! The control socket: orders come in, reports go out, and its end is the worker's death.

use std::io::{IoSliceMut, Stdin, stdin};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recv, recvmsg,
    send,
};

use crate::control::{HELLO, LINE_MAX_BYTES, Order, Report};

/// The worker's end of it may be gone at any time, which stops nothing here.
pub(crate) struct Lifeline {
    socket: Stdin,
    /// The start of a line whose end has not come.
    line: Vec<u8>,
    /// Whether its end has been seen; from then on it is not to be polled.
    pub(crate) has_ended: bool,
}

impl Lifeline {
    /// Descriptor 0 is the socket.
    pub(crate) fn on_stdin() -> Self {
        Self {
            socket: stdin(),
            line: Vec::with_capacity(LINE_MAX_BYTES),
            has_ended: false,
        }
    }

    /// Waits for the byte that brings the child's stdin. `None`: the socket has ended instead.
    ///
    /// # Errors
    /// `EMFILE`: no descriptor was left for it. `EPROTO`: something else came.
    pub(crate) fn receive_hello(&mut self) -> Result<Option<OwnedFd>, Errno> {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        // One byte only: an order may be right behind it.
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut byte)];
            match recvmsg(
                &self.socket,
                &mut parts,
                &mut attached,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                result => break result?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Errno::MFILE);
        }
        let child_stdin = attached.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match child_stdin {
            Some(child_stdin) if byte == [HELLO] => Ok(Some(child_stdin)),
            _ => Err(Errno::PROTO),
        }
    }

    /// The next order that is there; `None` when there is none now, or none ever
    /// ([`Self::has_ended`]). What is no order is passed over.
    pub(crate) fn next_order(&mut self) -> Option<Order> {
        let mut byte = [0];
        loop {
            // Byte by byte: orders are few and short, and so none is ever left in a buffer.
            match recv(&self.socket, &mut byte, RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.has_ended = true,
                Ok(_) if byte == [b'\n'] => {
                    let order = str::from_utf8(&self.line)
                        .ok()
                        .and_then(|line| line.parse().ok());
                    self.line.clear();
                    if order.is_some() {
                        return order;
                    }
                    continue;
                }
                Ok(_) => {
                    if self.line.len() < LINE_MAX_BYTES {
                        self.line.push(byte[0]);
                    }
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(_) => self.has_ended = true,
            }
            return None;
        }
    }

    /// Tells the worker. When it is gone there is nobody to tell, and the work goes on.
    pub(crate) fn report(&self, report: Report) {
        let line = format!("{report}\n");
        // The few lines of a shim's life fit into any socket's buffer, so it never waits here.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        send(&self.socket, line.as_bytes(), flags).ok();
    }
}

impl AsFd for Lifeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
