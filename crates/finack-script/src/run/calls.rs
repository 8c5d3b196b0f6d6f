//! System calls of a script: what is called, and whether what came back is what the script says.

use std::collections::BTreeMap;
use std::time::Duration;

use finack_posix::{
    Address, Call as Posix, Control, ControlData, EpollEvent, Fd, Incoming, Outgoing, PollFd, abi,
};
use finack_sim::pattern;

use super::config::Config;
use super::flow::STACK;
use super::values::{field, number, socket_address, string};
use crate::ast::{Call, Expr, Field};

mod answers;
mod keys;

pub(crate) use answers::differences;

/// A descriptor that no file has.
const NO_FD: Fd = 1_000_000;

/// Longest buffer that a call may have, in bytes.
const MAX_BUFFER: i64 = 256 << 20;

/// Why a call can't be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It makes no sense.
    Malformed(String),
    /// finack has nothing of the kind.
    Unsupported(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

impl From<&str> for Trouble {
    fn from(why: &str) -> Self {
        Self::Malformed(why.into())
    }
}

/// What calls are read with.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    /// The script's descriptors.
    pub(crate) fds: &'a BTreeMap<i64, Fd>,
    /// Duplicates, each with the descriptor that its file is known by.
    pub(crate) twins: &'a BTreeMap<i64, i64>,
    /// What was written to each descriptor.
    pub(crate) written: &'a BTreeMap<i64, Vec<u8>>,
    /// What `tcp_info` says, where the call asks for it.
    pub(crate) info: Option<Vec<finack_posix::info::Field>>,
}

/// Every call that a script can make.
pub(crate) const NAMES: [&str; 38] = [
    "socket",
    "bind",
    "listen",
    "accept",
    "accept4",
    "connect",
    "shutdown",
    "close",
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "send",
    "sendto",
    "sendmsg",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "getpeername",
    "fcntl",
    "ioctl",
    "dup",
    "poll",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "pipe",
    "pipe2",
    "open",
    "sendfile",
    "splice",
    // What finack has nothing for is known by name.
    "select",
    "mmap",
    "cap_set",
];

impl Context<'_> {
    fn number(&self, spec: &Call, at: usize) -> Result<i64, Trouble> {
        let arg = spec.args.get(at).ok_or_else(|| format!("{} takes more than {at} arguments", spec.name))?;
        Ok(number(arg, self.config)?)
    }

    /// The script's descriptor, and the true one.
    fn fd(&self, spec: &Call, at: usize) -> Result<Fd, Trouble> {
        let script = self.number(spec, at)?;
        Ok(self.true_fd(script))
    }

    fn true_fd(&self, script: i64) -> Fd {
        if script < 0 {
            return -1;
        }
        self.fds.get(&script).copied().unwrap_or(NO_FD)
    }

    fn address(&self, spec: &Call, at: usize, default: std::net::SocketAddr) -> Result<Address, Trouble> {
        match spec.args.get(at) {
            None | Some(Expr::Ellipsis) => Ok(Address::Inet(default)),
            Some(expr) => Ok(socket_address(expr, self.config)?.map_or(Address::Unspecified, Address::Inet)),
        }
    }

    fn remote(&self) -> std::net::SocketAddr {
        self.config.for_socket(self.config.remote_ip, self.config.connect_port)
    }

    /// A buffer that is written: `...` is the next bytes of the stream, which say where they belong.
    fn outgoing(&self, script_fd: i64, buffer: &Expr, len: i64, before: usize) -> Result<Vec<u8>, Trouble> {
        // At no address there is nothing to be written but zeros.
        if is_null(buffer, self.config) {
            return Ok(vec![0; self.room(len)?]);
        }
        if !(0..=MAX_BUFFER).contains(&len) {
            return Err(Trouble::Malformed(format!("a buffer of {len} bytes")));
        }
        let len = len.unsigned_abs() as usize;
        match buffer {
            Expr::Ellipsis => {
                let known = self.twins.get(&script_fd).unwrap_or(&script_fd);
                let offset = self.written.get(known).map_or(0, Vec::len) + before;
                Ok(pattern::bytes(STACK, offset as u64, len))
            }
            Expr::Str { parts, .. } => {
                let mut data = string(parts)?;
                data.resize(len, 0);
                Ok(data)
            }
            other => {
                Err(Trouble::Malformed(format!("data in quotes or ... was expected instead of '{other}'")))
            }
        }
    }

    /// `{..., 1000}` and its likes, one after another.
    fn vectors(&self, list: &Expr) -> Result<Vec<(Expr, i64)>, Trouble> {
        let Expr::List(items) = list else {
            return Err(Trouble::Malformed(format!("[{{..., 1000}}] was expected instead of '{list}'")));
        };
        let one = |item: &Expr| match item {
            Expr::Struct(fields) => {
                let base = field(fields, "iov_base").or(fields.first()).map(|f| f.value.clone());
                let len = field(fields, "iov_len").or(fields.get(1));
                let len = len.ok_or("a buffer without a length")?;
                Ok((base.unwrap_or(Expr::Ellipsis), number(&len.value, self.config)?))
            }
            other => Err(Trouble::Malformed(format!("{{..., 1000}} was expected instead of '{other}'"))),
        };
        items.iter().map(one).collect()
    }

    /// Fills `out` with what lies in several buffers.
    fn gather(&self, script_fd: i64, list: &Expr, out: &mut Outgoing) -> Result<(), Trouble> {
        for (base, len) in self.vectors(list)? {
            let part = self.outgoing(script_fd, &base, len, out.data.len())?;
            out.buffers.push(part.len());
            out.data.extend(part);
        }
        Ok(())
    }

    fn room(&self, len: i64) -> Result<usize, Trouble> {
        if (0..=MAX_BUFFER).contains(&len) {
            Ok(len.unsigned_abs() as usize)
        } else {
            Err(Trouble::Malformed(format!("a buffer of {len} bytes")))
        }
    }

    /// An offset that is given by its address: `NULL`, or `[0]`.
    fn offset(&self, spec: &Call, at: usize) -> Result<Option<i64>, Trouble> {
        match spec.args.get(at) {
            None | Some(Expr::Ellipsis) => Ok(None),
            Some(expr) if is_null(expr, self.config) => Ok(None),
            Some(expr) => Ok(Some(number(expr, self.config)?)),
        }
    }

    fn timeout(&self, spec: &Call, at: usize) -> Result<Option<Duration>, Trouble> {
        let millis = self.number(spec, at)?;
        Ok(u64::try_from(millis).ok().map(Duration::from_millis))
    }
}

/// The fields of `{msg_name(...)=..., msg_iov(1)=[...], ...}`.
pub(crate) fn message_fields(spec: &Call) -> Result<&[Field], Trouble> {
    match spec.args.get(1) {
        Some(Expr::Struct(fields)) => Ok(fields),
        _ => Err(Trouble::Malformed(format!(
            "{} takes {{msg_name(...)=..., msg_iov(1)=[...], ...}}",
            spec.name
        ))),
    }
}

/// The call that a script makes, and the bytes that it writes.
pub(crate) fn prepare(spec: &Call, ctx: &Context<'_>) -> Result<Posix, Trouble> {
    let n = |at| ctx.number(spec, at);
    let fd = || ctx.fd(spec, 0);
    Ok(match spec.name.as_str() {
        "socket" => Posix::Socket {
            domain: match spec.args.first() {
                Some(Expr::Ellipsis) if ctx.config.v6_sockets() => abi::AF_INET6,
                Some(Expr::Ellipsis) => abi::AF_INET,
                _ => n(0)?,
            },
            kind: n(1)?,
            protocol: n(2)?,
        },
        "bind" => {
            let local = ctx.config.for_socket(ctx.config.local_ip, ctx.config.bind_port);
            Posix::Bind(fd()?, ctx.address(spec, 1, local)?)
        }
        "connect" => Posix::Connect(fd()?, ctx.address(spec, 1, ctx.remote())?),
        "listen" => Posix::Listen(fd()?, n(1)?),
        "accept" => Posix::Accept(fd()?, 0),
        "accept4" => Posix::Accept(fd()?, n(3)?),
        "shutdown" => Posix::Shutdown(fd()?, n(1)?),
        "close" => Posix::Close(fd()?),
        "dup" => Posix::Dup(fd()?),
        "getsockname" => Posix::SocketName(fd()?),
        "getpeername" => Posix::PeerName(fd()?),
        "fcntl" => Posix::Fcntl(fd()?, n(1)?, if spec.args.len() > 2 { n(2)? } else { 0 }),
        "ioctl" => Posix::Ioctl(fd()?, n(1)?, spec.args.get(2).map_or(Ok(0), |_| n(2)).unwrap_or(0)),
        "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => incoming(spec, ctx)?,
        "write" | "writev" | "send" | "sendto" | "sendmsg" => outgoing(spec, ctx)?,
        "getsockopt" => {
            Posix::GetOption { fd: fd()?, level: n(1)?, name: n(2)?, len: option_room(spec, ctx)? }
        }
        "setsockopt" => {
            let (level, name) = (n(1)?, n(2)?);
            Posix::SetOption { fd: fd()?, level, name, value: option_value(spec, level, name, ctx)? }
        }
        "poll" => poll(spec, ctx)?,
        // Of its size only the sign matters: no flags are -1.
        "epoll_create" => Posix::EpollCreate { flags: if n(0)? > 0 { 0 } else { -1 } },
        "epoll_create1" => Posix::EpollCreate { flags: n(0)? },
        "epoll_ctl" => {
            let event = match spec.args.get(3) {
                Some(Expr::Struct(fields)) => epoll_event(fields, ctx)?,
                _ => EpollEvent::default(),
            };
            Posix::EpollControl { epoll: fd()?, op: n(1)?, fd: ctx.fd(spec, 2)?, event }
        }
        "epoll_wait" => Posix::EpollWait { epoll: fd()?, max: n(2)?, timeout: ctx.timeout(spec, 3)? },
        "pipe" | "pipe2" | "open" | "sendfile" | "splice" => of_files(spec, ctx)?,
        other => return Err(Trouble::Unsupported(format!("the call {other}"))),
    })
}

/// The calls that make pipes, open files and carry bytes between them and sockets.
fn of_files(spec: &Call, ctx: &Context<'_>) -> Result<Posix, Trouble> {
    let n = |at| ctx.number(spec, at);
    Ok(match spec.name.as_str() {
        "pipe" => Posix::Pipe { flags: 0 },
        "pipe2" => Posix::Pipe { flags: n(1)? },
        "open" => match spec.args.first() {
            Some(Expr::Str { parts, .. }) => {
                let path = String::from_utf8(string(parts)?).map_err(|_| "a file's name in UTF-8")?;
                Posix::Open { path, flags: n(1)? }
            }
            _ => return Err(Trouble::Malformed("open takes a file's name in quotes".into())),
        },
        "sendfile" => Posix::SendFile {
            to: ctx.fd(spec, 0)?,
            from: ctx.fd(spec, 1)?,
            offset: ctx.offset(spec, 2)?,
            count: ctx.room(n(3)?)?,
        },
        _ => Posix::Splice {
            from: ctx.fd(spec, 0)?,
            from_offset: ctx.offset(spec, 1)?,
            to: ctx.fd(spec, 2)?,
            to_offset: ctx.offset(spec, 3)?,
            len: ctx.room(n(4)?)?,
            flags: n(5)?,
        },
    })
}

/// Whether a buffer is at no address at all.
fn is_null(expr: &Expr, config: &Config) -> bool {
    matches!(expr, Expr::Word(_) | Expr::Int(0)) && number(expr, config) == Ok(0)
}

fn incoming(spec: &Call, ctx: &Context<'_>) -> Result<Posix, Trouble> {
    let fd = ctx.fd(spec, 0)?;
    let plain = matches!(spec.name.as_str(), "read" | "readv");
    let mut fault = spec.args.get(1).is_some_and(|buffer| is_null(buffer, ctx.config));
    let (len, flags) = match spec.name.as_str() {
        "readv" => {
            let list = spec.args.get(1).ok_or("readv takes buffers")?;
            let list = ctx.vectors(list)?;
            fault = list.iter().any(|(base, len)| *len > 0 && is_null(base, ctx.config));
            (list.iter().map(|(_, len)| len).sum(), 0)
        }
        "recvmsg" => {
            let fields = message_fields(spec)?;
            let list = field(fields, "msg_iov").ok_or("a message without msg_iov")?;
            let list = ctx.vectors(&list.value)?;
            fault = list.iter().any(|(base, len)| *len > 0 && is_null(base, ctx.config));
            (list.iter().map(|(_, len)| len).sum(), ctx.number(spec, 2)?)
        }
        "read" => (ctx.number(spec, 2)?, 0),
        _ => (ctx.number(spec, 2)?, ctx.number(spec, 3)?),
    };
    Ok(Posix::Recv(fd, Incoming { len: ctx.room(len)?, flags, plain, fault }))
}

fn outgoing(spec: &Call, ctx: &Context<'_>) -> Result<Posix, Trouble> {
    let script_fd = ctx.number(spec, 0)?;
    let arg = |at: usize| {
        spec.args.get(at).ok_or_else(|| Trouble::Malformed(format!("{} takes more arguments", spec.name)))
    };
    let mut out = Outgoing { plain: matches!(spec.name.as_str(), "write" | "writev"), ..Outgoing::default() };
    let nowhere = |list: &Expr| {
        let vectors = ctx.vectors(list)?;
        Ok::<bool, Trouble>(vectors.iter().any(|(base, len)| *len > 0 && is_null(base, ctx.config)))
    };
    match spec.name.as_str() {
        "writev" => {
            ctx.gather(script_fd, arg(1)?, &mut out)?;
            out.fault = nowhere(arg(1)?)?;
        }
        "sendmsg" => {
            let fields = message_fields(spec)?;
            let list = field(fields, "msg_iov").ok_or("a message without msg_iov")?;
            ctx.gather(script_fd, &list.value, &mut out)?;
            out.fault = nowhere(&list.value)?;
            out.flags = ctx.number(spec, 2)?;
            if let Some(control) = field(fields, "msg_control").filter(|f| f.value != Expr::Ellipsis) {
                out.control = control_messages(&control.value, ctx)?;
            }
            if let Some(name) = field(fields, "msg_name").filter(|f| f.value != Expr::Ellipsis) {
                out.to = Some(
                    socket_address(&name.value, ctx.config)?.map_or(Address::Unspecified, Address::Inet),
                );
            } else if out.flags & abi::MSG_FASTOPEN != 0 {
                out.to = Some(Address::Inet(ctx.remote()));
            }
        }
        name => {
            out.data = ctx.outgoing(script_fd, arg(1)?, ctx.number(spec, 2)?, 0)?;
            out.fault = is_null(arg(1)?, ctx.config);
            if name != "write" {
                out.flags = ctx.number(spec, 3)?;
            }
            if name == "sendto" {
                out.to = Some(ctx.address(spec, 4, ctx.remote())?);
            }
        }
    }
    Ok(Posix::Send(ctx.true_fd(script_fd), out))
}

/// `[{cmsg_level=SOL_SOCKET, cmsg_type=SO_TIMESTAMPING, cmsg_data=2}]`, as sendmsg takes them.
fn control_messages(list: &Expr, ctx: &Context<'_>) -> Result<Vec<Control>, Trouble> {
    let shape = || Trouble::Malformed("{cmsg_level=..., cmsg_type=..., cmsg_data=...} was expected".into());
    let Expr::List(items) = list else { return Err(Trouble::Malformed("msg_control takes [...]".into())) };
    let one = |item: &Expr| {
        let Expr::Struct(fields) = item else { return Err(shape()) };
        let value = |name| {
            let field = field(fields, name).ok_or_else(shape)?;
            Ok::<i64, Trouble>(number(&field.value, ctx.config)?)
        };
        let data = ControlData::Number(value("cmsg_data")?);
        Ok(Control { level: value("cmsg_level")?, kind: value("cmsg_type")?, data })
    };
    items.iter().map(one).collect()
}

/// Bytes that a getsockopt has room for: what its length says, or what the value takes.
fn option_room(spec: &Call, ctx: &Context<'_>) -> Result<usize, Trouble> {
    match spec.args.get(4) {
        None | Some(Expr::Ellipsis) => Ok(4096),
        Some(Expr::List(items)) if items == &[Expr::Ellipsis] => Ok(4096),
        Some(expr) => ctx.room(number(expr, ctx.config)?),
    }
}

fn int_bytes(value: i64) -> Vec<u8> {
    // What does not fit is cut, as a C compiler cuts it.
    (value as i32).to_le_bytes().to_vec()
}

/// The bytes of `[1]`, `"reno"`, `{onoff=1, linger=0}`, `{tv_sec=1, tv_usec=0}`.
fn option_value(spec: &Call, level: i64, name: i64, ctx: &Context<'_>) -> Result<Vec<u8>, Trouble> {
    let value = spec.args.get(3).ok_or("setsockopt takes a value")?;
    let mut bytes = match value {
        Expr::List(items) => {
            let numbers: Result<Vec<i64>, String> = items.iter().map(|i| number(i, ctx.config)).collect();
            numbers?.into_iter().flat_map(int_bytes).collect()
        }
        Expr::Str { parts, .. } => string(parts)?,
        Expr::Struct(fields) if level == abi::IPPROTO_TCP => match keys::structure(name, fields, ctx)? {
            Some(bytes) => bytes,
            None => option_struct(fields, ctx)?,
        },
        Expr::Struct(fields) => option_struct(fields, ctx)?,
        Expr::Ellipsis => return Err(Trouble::Malformed("setsockopt takes a value instead of ...".into())),
        other => int_bytes(number(other, ctx.config)?),
    };
    if spec.args.len() > 4 {
        bytes.resize(ctx.room(ctx.number(spec, 4)?)?, 0);
    }
    Ok(bytes)
}

fn option_struct(fields: &[Field], ctx: &Context<'_>) -> Result<Vec<u8>, Trouble> {
    let pair = |a: &str, b: &str| -> Option<Result<(i64, i64), String>> {
        let (a, b) = (field(fields, a)?, field(fields, b)?);
        Some(number(&a.value, ctx.config).and_then(|a| Ok((a, number(&b.value, ctx.config)?))))
    };
    if let Some(linger) = pair("onoff", "linger").or_else(|| pair("l_onoff", "l_linger")) {
        let (on, time) = linger?;
        return Ok([int_bytes(on), int_bytes(time)].concat());
    }
    if let Some(time) = pair("tv_sec", "tv_usec") {
        let (seconds, micros) = time?;
        return Ok([seconds.to_le_bytes(), micros.to_le_bytes()].concat());
    }
    Err(Trouble::Unsupported("this structure as a socket option's value".into()))
}

fn poll(spec: &Call, ctx: &Context<'_>) -> Result<Posix, Trouble> {
    let Some(Expr::List(items)) = spec.args.first() else {
        return Err(Trouble::Malformed("poll takes [{fd=3, events=POLLIN}]".into()));
    };
    let one = |item: &Expr| -> Result<PollFd, Trouble> {
        let Expr::Struct(fields) = item else {
            return Err(Trouble::Malformed(format!(
                "{{fd=3, events=POLLIN}} was expected instead of '{item}'"
            )));
        };
        let value = |name| field(fields, name).map(|f| number(&f.value, ctx.config)).transpose();
        let fd = value("fd")?.ok_or("a pollfd without fd")?;
        Ok(PollFd { fd: ctx.true_fd(fd), events: value("events")?.unwrap_or(0), revents: 0 })
    };
    let list = items.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(Posix::Poll(list, ctx.timeout(spec, 2)?))
}

/// `{events=EPOLLIN, fd=4}`; the second is what epoll_wait gives back, whatever it is called.
fn epoll_event(fields: &[Field], ctx: &Context<'_>) -> Result<EpollEvent, Trouble> {
    let mut event = EpollEvent::default();
    for f in fields {
        let value = number(&f.value, ctx.config)?;
        match f.name.as_deref() {
            Some("events") => event.events = value,
            Some("fd" | "u32" | "u64" | "ptr") => event.data = value as u64,
            _ => return Err(Trouble::Malformed("{events=..., fd=...} was expected".into())),
        }
    }
    Ok(event)
}
