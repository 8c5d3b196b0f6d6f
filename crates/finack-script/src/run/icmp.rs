//! Types and codes of ICMP by the names that scripts give them.

const UNREACHABLE_4: &[(&str, u8)] = &[
    ("net_unreachable", 0),
    ("host_unreachable", 1),
    ("protocol_unreachable", 2),
    ("port_unreachable", 3),
    ("frag_needed", 4),
    ("source_route_failed", 5),
    ("net_unknown", 6),
    ("host_unknown", 7),
    ("source_host_isolated", 8),
    ("net_prohibited", 9),
    ("host_prohibited", 10),
    ("net_unreachable_for_tos", 11),
    ("host_unreachable_for_tos", 12),
    ("packet_filtered", 13),
    ("precedence_violation", 14),
    ("precedence_cutoff", 15),
];

const UNREACHABLE_6: &[(&str, u8)] = &[
    ("net_unreachable", 0),
    ("no_route", 0),
    ("admin_prohibited", 1),
    ("not_neighbour", 2),
    ("address_unreachable", 3),
    ("port_unreachable", 4),
];

type Codes = &'static [(&'static str, u8)];

const TYPES_4: &[(&str, u8, Codes)] = &[
    ("echo_reply", 0, &[]),
    ("unreachable", 3, UNREACHABLE_4),
    ("source_quench", 4, &[]),
    ("redirect", 5, &[]),
    ("echo_request", 8, &[]),
    ("time_exceeded", 11, &[]),
    ("parameter_problem", 12, &[]),
    ("timestamp_request", 13, &[]),
    ("timestamp_reply", 14, &[]),
];

const TYPES_6: &[(&str, u8, Codes)] = &[
    ("unreachable", 1, UNREACHABLE_6),
    ("packet_too_big", 2, &[]),
    ("time_exceeded", 3, &[("exceeded_hop_limit", 0), ("exceeded_frag_time", 1)]),
    ("parameter_problem", 4, &[("header_field", 0), ("unknown_next_header", 1), ("unknown_option", 2)]),
    ("echo_request", 128, &[]),
    ("echo_reply", 129, &[]),
];

fn types(v6: bool) -> &'static [(&'static str, u8, Codes)] {
    if v6 { TYPES_6 } else { TYPES_4 }
}

/// Type and code of what a script names.
///
/// # Errors
/// What is not known.
pub(crate) fn numbers(v6: bool, kind: &str, code: Option<&str>) -> Result<(u8, u8), String> {
    let numbered = |text: &str, prefix: &str| text.strip_prefix(prefix).and_then(|n| n.parse::<u8>().ok());
    let known = types(v6).iter().find(|(name, ..)| *name == kind);
    let number = known.map(|(_, n, _)| *n).or_else(|| numbered(kind, "type_"));
    let number = number.ok_or_else(|| {
        format!("'{kind}' is no type of ICMP{} that is known here", if v6 { "v6" } else { "" })
    })?;
    let Some(code) = code else { return Ok((number, 0)) };
    let codes = known.map_or(&[][..], |(.., codes)| codes);
    let code_number = codes.iter().find(|(name, _)| *name == code).map(|(_, n)| *n);
    let code_number = code_number.or_else(|| numbered(code, "code_"));
    code_number
        .map(|c| (number, c))
        .ok_or_else(|| format!("'{code}' is no code of '{kind}' that is known here"))
}

/// The names of a type and a code; a code that is 0 and has no name is left out.
pub(crate) fn names(v6: bool, kind: u8, code: u8) -> (String, Option<String>) {
    let known = types(v6).iter().find(|(_, n, _)| *n == kind);
    let name = known.map_or_else(|| format!("type_{kind}"), |(name, ..)| (*name).into());
    let named = known.and_then(|(.., codes)| codes.iter().find(|(_, n)| *n == code));
    let code = match named {
        Some((name, _)) => Some((*name).into()),
        None => (code != 0).then(|| format!("code_{code}")),
    };
    (name, code)
}
