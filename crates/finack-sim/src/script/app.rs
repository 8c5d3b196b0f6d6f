//! The application's side of a script.

use core::net::SocketAddr;

use finack_core::Error;
use finack_core::options::{BindOptions, RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::ConnId;
use finack_core::tcp::{State, TcpInfo};

use super::{Script, flow};
use crate::pattern;

impl Script {
    /// Listens on the flow's local port with the script's options.
    ///
    /// # Panics
    /// Where the stack refuses to.
    #[track_caller]
    pub fn listen(&mut self) {
        let local = self.flow().local;
        let options = self.setup.options;
        let bind_options = BindOptions {
            reuse_addr: options.reuse_addr,
            reuse_port: options.reuse_port,
            v6_only: options.v6_only,
        };
        let bind = self.stack.tcp_bind(self.now, local, bind_options);
        let bind = bind.unwrap_or_else(|e| self.fail(&format!("bind to {local}: {e}")));
        let listener = self.stack.tcp_listen(self.now, bind, self.setup.backlog, options);
        self.listener = Some(listener.unwrap_or_else(|e| self.fail(&format!("listen on {local}: {e}"))));
        self.pump();
    }

    /// Accepts; the connection is the present flow's.
    ///
    /// # Panics
    /// Where nothing waits to be accepted, or somebody else.
    #[track_caller]
    pub fn accept(&mut self) -> ConnId {
        match self.try_accept() {
            Ok(conn) => conn,
            Err(e) => self.fail(&format!("accept: {e}")),
        }
    }

    /// Accepts, if somebody waits.
    ///
    /// # Errors
    /// Those of `tcp_accept`.
    ///
    /// # Panics
    /// Where there is no listener.
    #[track_caller]
    pub fn try_accept(&mut self) -> Result<ConnId, Error> {
        let listener = self.listener.expect("the script has a listener");
        let result = self.stack.tcp_accept(self.now, listener);
        self.note(format!("   accept: {result:?}"));
        let (conn, remote) = result?;
        let at = self.flows.iter().position(|f| f.remote == remote);
        let Some(at) = at else { self.fail(&format!("accepted {remote}, of whom the script knows nothing")) };
        self.conns.insert(conn, at);
        self.pump();
        Ok(conn)
    }

    /// Connects to the flow's remote end with the script's options.
    ///
    /// # Panics
    /// Where the stack refuses to.
    #[track_caller]
    pub fn connect(&mut self) -> ConnId {
        let options = self.setup.options;
        match self.connect_with(options) {
            Ok(conn) => conn,
            Err(e) => self.fail(&format!("connect: {e}")),
        }
    }

    /// Connects with these options.
    ///
    /// # Errors
    /// Those of `tcp_connect`.
    pub fn connect_with(&mut self, options: SocketOptions) -> Result<ConnId, Error> {
        let remote = self.flow().remote;
        let result = self.stack.tcp_connect(self.now, None, remote, options);
        self.note(format!("   connect: {result:?}"));
        let conn = result?;
        let local = self.stack.tcp_local_addr(conn)?;
        if self.flow().local.port() == 0 {
            self.flow().local = local;
        }
        self.conns.insert(conn, self.current);
        self.pump();
        Ok(conn)
    }

    /// Connects to the flow's remote end with the first `len` bytes of the stack's stream to go along (MSG_FASTOPEN).
    ///
    /// # Errors
    /// Those of `tcp_connect_with_data`.
    pub fn connect_sending(&mut self, len: usize) -> Result<ConnId, Error> {
        let (remote, options) = (self.flow().remote, self.setup.options);
        let data = pattern::bytes(flow::STACK, 0, len);
        let result = self.stack.tcp_connect_with_data(self.now, None, remote, options, &data);
        self.note(format!("   connect, sending {len}: {result:?}"));
        let (conn, taken) = result?;
        self.flow().written = taken as u64;
        self.flow().local = self.stack.tcp_local_addr(conn)?;
        self.conns.insert(conn, self.current);
        self.pump();
        Ok(conn)
    }

    /// Binds to the flow's local end first, then connects to its remote end.
    ///
    /// # Errors
    /// Those of `tcp_bind` and `tcp_connect`.
    pub fn bind_connect(&mut self, bind: BindOptions) -> Result<ConnId, Error> {
        let (local, remote) = (self.flow().local, self.flow().remote);
        let options = self.setup.options;
        let bound = self.stack.tcp_bind(self.now, local, bind)?;
        let conn = self.stack.tcp_connect(self.now, Some(bound), remote, options)?;
        self.note(format!("   bind to {local}, connect"));
        self.conns.insert(conn, self.current);
        self.pump();
        Ok(conn)
    }

    /// The peer's options in its SYN, as text.
    fn usual_options(&self) -> &'static str {
        match (self.setup.v6, self.setup.timestamps) {
            (false, false) => "<mss 1460,sackOK,nop,wscale 7>",
            (true, false) => "<mss 1440,sackOK,nop,wscale 7>",
            (false, true) => "<mss 1460,sackOK,TS val * ecr *,nop,wscale 7>",
            (true, true) => "<mss 1440,sackOK,TS val * ecr *,nop,wscale 7>",
        }
    }

    /// Three-way handshake begun by the peer, and accept.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn accepted(&mut self) -> ConnId {
        self.handshake();
        self.accept()
    }

    /// Three-way handshake begun by the peer.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn handshake(&mut self) {
        self.inject(&format!("S 0:0(0) win 65535 {}", self.usual_options()));
        self.expect("S. 0:0(0) ack 1");
        self.inject(". 1:1(0) ack 1");
    }

    /// Three-way handshake begun by the stack.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn connected(&mut self) -> ConnId {
        let conn = self.connect();
        self.expect("S 0:0(0)");
        self.inject(&format!("S. 0:0(0) ack 1 win 65535 {}", self.usual_options()));
        self.expect(". 1:1(0) ack 1");
        assert_eq!(self.state(conn), State::Established, "after the handshake");
        conn
    }

    fn flow_of(&mut self, conn: ConnId) -> &mut super::Flow {
        let at = self.conns[&conn];
        &mut self.flows[at]
    }

    /// Writes the next `len` bytes of the stack's stream, all of which must be taken.
    ///
    /// # Panics
    /// Where they are not.
    #[track_caller]
    pub fn write(&mut self, conn: ConnId, len: usize) {
        let taken = self.try_write(conn, len, SendFlags::default());
        if taken != Ok(len) {
            self.fail(&format!("write of {len} bytes: {taken:?}"));
        }
    }

    /// Writes up to `len` bytes of the stack's stream.
    ///
    /// # Errors
    /// Those of `tcp_send`.
    #[track_caller]
    pub fn try_write(&mut self, conn: ConnId, len: usize, flags: SendFlags) -> Result<usize, Error> {
        let offset = self.flow_of(conn).written;
        let data = pattern::bytes(flow::STACK, offset, len);
        let result = self.stack.tcp_send(self.now, conn, &data, flags);
        self.note(format!("   write {len}: {result:?}"));
        if let Ok(taken) = result {
            self.flow_of(conn).written += taken as u64;
        }
        self.pump();
        result
    }

    /// Reads exactly `len` bytes, which must be there and be what the peer sent.
    ///
    /// # Panics
    /// Where they are not.
    #[track_caller]
    pub fn read(&mut self, conn: ConnId, len: usize) {
        let mut done = 0;
        while done < len {
            match self.try_read(conn, len - done) {
                Ok(0) => self.fail(&format!("read of {len} bytes: EOF after {done}")),
                Ok(n) => done += n,
                Err(e) => self.fail(&format!("read of {len} bytes: {e} after {done}")),
            }
        }
    }

    /// Reads up to `len` bytes and checks that they are what the peer sent.
    ///
    /// # Errors
    /// Those of `tcp_recv`.
    ///
    /// # Panics
    /// Where the bytes are others.
    #[track_caller]
    pub fn try_read(&mut self, conn: ConnId, len: usize) -> Result<usize, Error> {
        let mut buf = vec![0; len];
        let result = self.stack.tcp_recv(self.now, conn, &mut buf, RecvFlags::default());
        self.note(format!("   read {len}: {result:?}"));
        if let Ok(n) = result {
            let flow = self.flow_of(conn);
            let (offset, check) = (flow.read, flow.check_payload);
            flow.read += n as u64;
            if let Some(at) = pattern::mismatch(flow::PEER, offset, &buf[..n]).filter(|_| check) {
                self.fail(&format!("byte {} of the stream is not what the peer sent", offset as usize + at));
            }
        }
        self.pump();
        result
    }

    /// Reading answers EOF.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn read_eof(&mut self, conn: ConnId) {
        let result = self.try_read(conn, 1);
        if result != Ok(0) {
            self.fail(&format!("read: {result:?} where EOF was expected"));
        }
    }

    /// Reading would block.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn read_blocks(&mut self, conn: ConnId) {
        self.read_fails(conn, Error::WouldBlock);
    }

    /// Reading fails with `error`.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn read_fails(&mut self, conn: ConnId, error: Error) {
        let result = self.try_read(conn, 1);
        if result != Err(error) {
            self.fail(&format!("read: {result:?} where {error:?} was expected"));
        }
    }

    /// Writing fails with `error`.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn write_fails(&mut self, conn: ConnId, error: Error) {
        let result = self.try_write(conn, 1, SendFlags::default());
        if result != Err(error) {
            self.fail(&format!("write: {result:?} where {error:?} was expected"));
        }
    }

    /// Closes; the handle is spent.
    ///
    /// # Panics
    /// Where the stack refuses to.
    #[track_caller]
    pub fn close(&mut self, conn: ConnId) {
        self.note("   close".into());
        let result = self.stack.tcp_close(self.now, conn);
        self.done("close", result);
    }

    /// Shuts one direction or both.
    ///
    /// # Panics
    /// Where the stack refuses to.
    #[track_caller]
    pub fn shutdown(&mut self, conn: ConnId, how: Shutdown) {
        self.note(format!("   shutdown {how:?}"));
        let result = self.stack.tcp_shutdown(self.now, conn, how);
        self.done("shutdown", result);
    }

    /// Aborts; the handle is spent.
    ///
    /// # Panics
    /// Where the stack refuses to.
    #[track_caller]
    pub fn abort(&mut self, conn: ConnId) {
        self.note("   abort".into());
        let result = self.stack.tcp_abort(self.now, conn);
        self.done("abort", result);
    }

    /// Changes the options of a connection.
    ///
    /// # Panics
    /// Where the stack refuses to.
    #[track_caller]
    pub fn set_options(&mut self, conn: ConnId, change: impl FnOnce(&mut SocketOptions)) {
        let mut options =
            self.stack.tcp_options(conn).unwrap_or_else(|e| self.fail(&format!("options: {e}")));
        change(&mut options);
        let result = self.stack.tcp_set_options(self.now, conn, options);
        self.done("set_options", result);
    }

    #[track_caller]
    fn done(&mut self, what: &str, result: Result<(), Error>) {
        if let Err(e) = result {
            self.fail(&format!("{what}: {e}"));
        }
        self.pump();
    }

    /// The connection's state.
    ///
    /// # Panics
    /// Where the handle is spent.
    #[track_caller]
    #[must_use]
    pub fn state(&self, conn: ConnId) -> State {
        self.stack.tcp_state(conn).unwrap_or_else(|e| self.fail(&format!("state: {e}")))
    }

    /// The connection's `tcp_info`.
    ///
    /// # Panics
    /// Where the handle is spent.
    #[track_caller]
    #[must_use]
    pub fn info(&self, conn: ConnId) -> TcpInfo {
        self.stack.tcp_info(self.now, conn).unwrap_or_else(|e| self.fail(&format!("info: {e}")))
    }

    /// `SO_ERROR`: the pending error, cleared by asking.
    ///
    /// # Panics
    /// Where the handle is spent.
    #[track_caller]
    pub fn take_error(&mut self, conn: ConnId) -> Option<Error> {
        let result = self.stack.tcp_take_error(conn);
        result.unwrap_or_else(|e| self.fail(&format!("take_error: {e}")))
    }

    /// How many connections are in `state`, listeners under LISTEN, closed handles under CLOSED.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.stack.count_by_state().iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n)
    }

    /// Connections in any state but LISTEN and CLOSED.
    #[must_use]
    pub fn connections(&self) -> usize {
        let closed = |s: State| matches!(s, State::Listen | State::Closed);
        self.stack.count_by_state().iter().filter(|(s, _)| !closed(*s)).map(|(_, n)| n).sum()
    }

    /// The flow's ends: the stack's, the peer's.
    #[must_use]
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        let flow = &self.flows[self.current];
        (flow.local, flow.remote)
    }
}
