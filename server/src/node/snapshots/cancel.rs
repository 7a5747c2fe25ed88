//! Ending a stream from outside, whatever it waits for.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

/// Shared by a stream and by whoever may end it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancellation(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    socket: Option<TcpStream>,
}

impl Cancellation {
    /// Ends the stream: whoever reads or writes there hears of it at once.
    pub(crate) fn cancel(&self) {
        let mut state = self.0.lock().expect("no holder of this lock panics");
        state.cancelled = true;
        if let Some(socket) = state.socket.take() {
            // One that is closed already needs no end.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.0.lock().expect("no holder of this lock panics").cancelled
    }

    /// Names the socket that is to be shut.
    ///
    /// # Errors
    /// When it was cancelled already, or the socket is of no use.
    pub(super) fn watch(&self, socket: &TcpStream) -> io::Result<()> {
        let mut state = self.0.lock().expect("no holder of this lock panics");
        if state.cancelled {
            return Err(io::Error::other("it is not wanted any more"));
        }
        state.socket = Some(socket.try_clone()?);
        Ok(())
    }
}

/// Ends the stream when it goes.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
