//! Arguments as numbers, strings and structures.

use std::net::{IpAddr, SocketAddr};

use finack_posix::{Errno, abi};

use super::config::{Config, IpVersion};
use crate::ast::{Expr, Field};

/// The number that a symbol stands for, in the script's circumstances.
pub(crate) fn symbol(word: &str, config: &Config) -> Option<i64> {
    let v6 = config.ip_version == IpVersion::V6;
    match word {
        // What runs of scripts over both versions define for themselves.
        "CMSG_LEVEL_IP" => Some(if v6 { abi::SOL_IPV6 } else { abi::SOL_IP }),
        "CMSG_TYPE_RECVERR" => Some(if v6 { abi::IPV6_RECVERR } else { abi::IP_RECVERR }),
        "TCP_CA_OPEN" => Some(abi::TCP_CA_Open),
        "TCP_CA_DISORDER" => Some(abi::TCP_CA_Disorder),
        "TCP_CA_RECOVERY" => Some(abi::TCP_CA_Recovery),
        "TCP_CA_LOSS" => Some(abi::TCP_CA_Loss),
        _ => abi::lookup(word).or_else(|| Errno::from_name(word).map(|e| e.0.into())),
    }
}

/// A number: digits, a symbol, several or-ed, `htons(N)` (which is N: ports are numbers here).
///
/// # Errors
/// What stands there instead.
pub(crate) fn number(expr: &Expr, config: &Config) -> Result<i64, String> {
    match expr {
        Expr::Int(n) => Ok(*n),
        Expr::Hex(n) => Ok(*n as i64),
        Expr::Word(word) => {
            symbol(word, config).ok_or_else(|| format!("'{word}' is not a symbol that is known here"))
        }
        Expr::Or(terms) => terms.iter().try_fold(0, |sum, term| Ok(sum | number(term, config)?)),
        Expr::Apply(name, args) if matches!(name.as_str(), "htons" | "htonl" | "ntohs" | "ntohl") => {
            match args.as_slice() {
                [one] => number(one, config),
                _ => Err(format!("{name} takes one argument")),
            }
        }
        // A value that is passed by its address.
        Expr::List(items) if items.len() == 1 => number(&items[0], config),
        other => Err(format!("a number was expected instead of '{other}'")),
    }
}

/// The bytes between quotes, escapes of C replaced.
///
/// # Errors
/// An escape that makes no sense.
pub(crate) fn string(parts: &[String]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for part in parts {
        let mut bytes = part.bytes().peekable();
        while let Some(byte) = bytes.next() {
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            let escape = bytes.next().ok_or("a string that ends in a backslash")?;
            out.push(match escape {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'0'..=b'7' => {
                    let mut value = u32::from(escape - b'0');
                    for _ in 0..2 {
                        if let Some(digit) = bytes.next_if(|b| (b'0'..=b'7').contains(b)) {
                            value = value * 8 + u32::from(digit - b'0');
                        }
                    }
                    u8::try_from(value).map_err(|_| "an octal escape above \\377")?
                }
                b'x' => {
                    let digit = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
                    let high = digit(bytes.next()).ok_or("\\x without two hexadecimal digits")?;
                    let low = digit(bytes.next()).ok_or("\\x without two hexadecimal digits")?;
                    (high << 4 | low) as u8
                }
                b'"' | b'\\' | b'\'' | b'`' => escape,
                other => return Err(format!("the escape '\\{}' is not known", other as char)),
            });
        }
    }
    Ok(out)
}

/// The field of that name.
pub(crate) fn field<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|f| f.name.as_deref() == Some(name))
}

/// `inet_addr("10.0.0.1")`, `inet6_addr("::1")`.
fn ip(expr: &Expr) -> Result<IpAddr, String> {
    match expr {
        Expr::Apply(name, args) if matches!(name.as_str(), "inet_addr" | "inet6_addr" | "inet_pton") => {
            match args.last() {
                Some(Expr::Str { parts, .. }) => {
                    parts.concat().parse().map_err(|_| format!("'{}' is no IP address", parts.concat()))
                }
                _ => Err(format!("{name} takes an address in quotes")),
            }
        }
        other => Err(format!("inet_addr(\"...\") was expected instead of '{other}'")),
    }
}

/// `{sa_family = AF_INET, sin_port = htons(8080), sin_addr = inet_addr("192.168.0.1")}`; `None` is `AF_UNSPEC`.
pub(crate) fn socket_address(expr: &Expr, config: &Config) -> Result<Option<SocketAddr>, String> {
    let Expr::Struct(fields) = expr else {
        return Err(format!("an address was expected instead of '{expr}'"));
    };
    let find = |names: [&str; 2]| names.iter().find_map(|n| field(fields, n)).map(|f| &f.value);
    let family = find(["sa_family", "sin_family"]).ok_or("an address without sa_family")?;
    if number(family, config)? == abi::AF_UNSPEC {
        return Ok(None);
    }
    let port = find(["sin_port", "sin6_port"]).ok_or("an address without sin_port")?;
    let port = u16::try_from(number(port, config)?).map_err(|_| "a port above 65535")?;
    let address = find(["sin_addr", "sin6_addr"]).ok_or("an address without sin_addr")?;
    Ok(Some(SocketAddr::new(ip(address)?, port)))
}

/// Every symbol in an expression that is not known; fields' names are none.
pub(crate) fn unknown_symbols(expr: &Expr, config: &Config, out: &mut Vec<String>) {
    match expr {
        Expr::Word(word) if symbol(word, config).is_none() => out.push(word.clone()),
        Expr::Or(list) | Expr::List(list) | Expr::Apply(_, list) => {
            list.iter().for_each(|e| unknown_symbols(e, config, out));
        }
        Expr::Assign(_, value) => unknown_symbols(value, config, out),
        Expr::Struct(fields) => fields.iter().for_each(|f| {
            f.count.iter().for_each(|e| unknown_symbols(e, config, out));
            unknown_symbols(&f.value, config, out);
        }),
        _ => {}
    }
}
