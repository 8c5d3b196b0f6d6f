//! Structures of `TCP_MD5SIG` and `TCP_AO_*` as a script writes them: fields by Linux's names, those left out 0.
//!
//! `{tcpm_addr=..., tcpm_key="secret"}` is for the remote address; `{addr=..., sndid=1, rcvid=2, key="secret"}` too,
//! with `hmac(sha1)` unless `alg_name` says otherwise.

use std::net::IpAddr;

use finack_posix::{abi, options::auth};

use super::super::values::{field, number, socket_address, string};
use super::{Context, Trouble};
use crate::ast::{Expr, Field};

/// The bytes of such a structure for the option `name`; `None` where the option takes another.
pub(super) fn structure(name: i64, fields: &[Field], ctx: &Context<'_>) -> Result<Option<Vec<u8>>, Trouble> {
    let part = Part { fields, ctx };
    let known: &[&str] = match name {
        abi::TCP_MD5SIG | abi::TCP_MD5SIG_EXT => {
            &["tcpm_addr", "tcpm_flags", "tcpm_prefixlen", "tcpm_keylen", "tcpm_ifindex", "tcpm_key"]
        }
        abi::TCP_AO_ADD_KEY => &[
            "addr",
            "alg_name",
            "ifindex",
            "set_current",
            "set_rnext",
            "prefix",
            "sndid",
            "rcvid",
            "maclen",
            "keyflags",
            "keylen",
            "key",
        ],
        abi::TCP_AO_DEL_KEY => &[
            "addr",
            "ifindex",
            "set_current",
            "set_rnext",
            "del_async",
            "prefix",
            "sndid",
            "rcvid",
            "current_key",
            "rnext",
            "keyflags",
        ],
        abi::TCP_AO_INFO => &[
            "set_current",
            "set_rnext",
            "ao_required",
            "set_counters",
            "accept_icmps",
            "current_key",
            "rnext",
        ],
        _ => return Ok(None),
    };
    let unknown = fields.iter().find(|f| !f.name.as_deref().is_some_and(|n| known.contains(&n)));
    if let Some(unknown) = unknown {
        let name = unknown.name.clone().unwrap_or_else(|| unknown.value.to_string());
        return Err(Trouble::Malformed(format!("'{name}' is none of the fields {}", known.join(", "))));
    }
    Ok(Some(match name {
        abi::TCP_AO_ADD_KEY => part.ao_add()?,
        abi::TCP_AO_DEL_KEY => part.ao_del()?,
        abi::TCP_AO_INFO => part.ao_info()?,
        _ => part.md5()?,
    }))
}

struct Part<'a> {
    fields: &'a [Field],
    ctx: &'a Context<'a>,
}

impl Part<'_> {
    fn get(&self, name: &str) -> Result<Option<i64>, Trouble> {
        let value = field(self.fields, name).map(|f| number(&f.value, self.ctx.config));
        Ok(value.transpose()?)
    }

    fn number(&self, name: &str) -> Result<i64, Trouble> {
        Ok(self.get(name)?.unwrap_or(0))
    }

    fn byte(&self, name: &str) -> Result<u8, Trouble> {
        u8::try_from(self.number(name)?)
            .map_err(|_| Trouble::Malformed(format!("{name} is a byte: 0 to 255")))
    }

    fn bits(&self, names: &[&str]) -> Result<Vec<u8>, Trouble> {
        let mut out = 0_u32;
        for (at, name) in names.iter().enumerate() {
            out |= u32::from(self.number(name)? != 0) << at;
        }
        Ok(out.to_le_bytes().to_vec())
    }

    /// `...`, `inet_addr("10.0.0.1")` or a whole address.
    fn address(&self, name: &str) -> Result<(IpAddr, u16), Trouble> {
        match field(self.fields, name).map(|f| &f.value) {
            None | Some(Expr::Ellipsis) => Ok((self.ctx.remote().ip(), 0)),
            Some(expr @ Expr::Struct(_)) => {
                let address = socket_address(expr, self.ctx.config)?.ok_or("an address without a family")?;
                Ok((address.ip(), address.port()))
            }
            Some(Expr::Apply(_, args)) => match args.last() {
                Some(Expr::Str { parts, .. }) => {
                    let ip = parts.concat().parse();
                    Ok((ip.map_err(|_| format!("'{}' is no IP address", parts.concat()))?, 0))
                }
                _ => Err("an address in quotes was expected".into()),
            },
            Some(other) => Err(Trouble::Malformed(format!("an address was expected instead of '{other}'"))),
        }
    }

    /// A `struct sockaddr_storage`.
    fn storage(&self, name: &str) -> Result<(Vec<u8>, IpAddr), Trouble> {
        let (ip, port) = self.address(name)?;
        let mut out = auth::storage(ip);
        out[2..4].copy_from_slice(&port.to_be_bytes());
        Ok((out, ip))
    }

    fn text(&self, name: &str) -> Result<Vec<u8>, Trouble> {
        match field(self.fields, name).map(|f| &f.value) {
            None => Ok(Vec::new()),
            Some(Expr::Str { parts, .. }) => Ok(string(parts)?),
            Some(other) => Err(Trouble::Malformed(format!("{name} stands in quotes, instead of '{other}'"))),
        }
    }

    /// A field of `room` bytes, and how many it is said to have.
    fn key(&self, name: &str, len: &str, room: usize) -> Result<(Vec<u8>, i64), Trouble> {
        let mut key = self.text(name)?;
        let said = self.get(len)?.unwrap_or(key.len() as i64);
        key.resize(room, 0);
        Ok((key, said))
    }

    fn md5(&self) -> Result<Vec<u8>, Trouble> {
        let (mut out, _) = self.storage("tcpm_addr")?;
        let (key, len) = self.key("tcpm_key", "tcpm_keylen", 80)?;
        out.extend([self.byte("tcpm_flags")?, self.byte("tcpm_prefixlen")?]);
        out.extend((len as u16).to_le_bytes());
        out.extend((self.number("tcpm_ifindex")? as i32).to_le_bytes());
        out.extend(key);
        Ok(out)
    }

    /// The prefix that is said, or the whole address.
    fn prefix(&self, ip: IpAddr) -> Result<u8, Trouble> {
        match ip.to_canonical() {
            _ if self.get("prefix")?.is_some() => self.byte("prefix"),
            ip if ip.is_unspecified() => Ok(0),
            IpAddr::V4(_) => Ok(32),
            IpAddr::V6(_) => Ok(128),
        }
    }

    fn ao_add(&self) -> Result<Vec<u8>, Trouble> {
        let (mut out, ip) = self.storage("addr")?;
        let name = self.text("alg_name")?;
        let mut name = if name.is_empty() { b"hmac(sha1)".to_vec() } else { name };
        name.resize(64, 0);
        out.extend(name);
        out.extend((self.number("ifindex")? as i32).to_le_bytes());
        out.extend(self.bits(&["set_current", "set_rnext"])?);
        let (key, len) = self.key("key", "keylen", 80)?;
        out.extend([0, 0, self.prefix(ip)?, self.byte("sndid")?, self.byte("rcvid")?, self.byte("maclen")?]);
        out.extend([self.byte("keyflags")?, len as u8]);
        out.extend(key);
        Ok(out)
    }

    fn ao_del(&self) -> Result<Vec<u8>, Trouble> {
        let (mut out, ip) = self.storage("addr")?;
        out.extend((self.number("ifindex")? as i32).to_le_bytes());
        out.extend(self.bits(&["set_current", "set_rnext", "del_async"])?);
        out.extend([0, 0, self.prefix(ip)?, self.byte("sndid")?, self.byte("rcvid")?]);
        out.extend([self.byte("current_key")?, self.byte("rnext")?, self.byte("keyflags")?]);
        Ok(out)
    }

    fn ao_info(&self) -> Result<Vec<u8>, Trouble> {
        let names = ["set_current", "set_rnext", "ao_required", "set_counters", "accept_icmps"];
        let mut out = self.bits(&names)?;
        out.extend([0, 0, self.byte("current_key")?, self.byte("rnext")?]);
        out.resize(48, 0);
        Ok(out)
    }
}
