//! Programs that take the place of those that would change the system.

/// Where the stand-ins lie, and where they take down what they are asked.
pub(super) const DIRECTORY: &str = "/.stand-ins";
pub(super) const LOG: &str = "/.log/asked";

/// Between arguments, and between calls.
const UNIT: char = '\u{1f}';
const RECORD: char = '\u{1e}';

/// Programs whose calls are taken down: those that set up the system, and those that would find another here, or
/// another time.
const TAKEN_DOWN: [&str; 19] = [
    "ip",
    "tc",
    "ethtool",
    "ifconfig",
    "route",
    "arp",
    "bridge",
    "brctl",
    "ss",
    "conntrack",
    "iptables",
    "ip6tables",
    "nft",
    "modprobe",
    "insmod",
    "rmmod",
    "sleep",
    "usleep",
    "timeout",
];

/// Each stand-in by its name.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    TAKEN_DOWN.into_iter().map(|name| (name, TAKES_DOWN)).chain([("sysctl", SYSCTL)])
}

/// Where programs are called by their whole names.
pub(super) const PLACES: [&str; 6] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

const TAKES_DOWN: &str = r#"#!/bin/sh
{ printf '%s' "${0##*/}"; for a; do printf '\037%s' "$a"; done; printf '\036'; } >>/.log/asked
"#;

/// Sysctls are files here as there; names that are no file yet become one, so that they are named in the end.
const SYSCTL: &str = r#"#!/bin/sh
quiet= plain= status=0
for a; do
  case $a in
    -p*|--load*|-a|-A|-X|--all|--system)
      { printf sysctl; for b; do printf '\037%s' "$b"; done; printf '\036'; } >>/.log/asked; exit 0 ;;
    -q|-qw|-wq|--quiet) quiet=1 ;;
    -n|--values) plain=1 ;;
    -*) ;;
    *=*)
      name=${a%%=*}; file=/proc/sys/$(printf %s "$name" | tr . /)
      mkdir -p "${file%/*}" && printf '%s\n' "${a#*=}" >"$file" || status=255
      [ "$quiet" ] || printf '%s = %s\n' "$name" "${a#*=}" ;;
    *)
      file=/proc/sys/$(printf %s "$a" | tr . /)
      if [ -f "$file" ]; then
        [ "$plain" ] || printf '%s = ' "$a"; cat "$file"
      else
        printf 'sysctl: cannot stat %s: No such file or directory\n' "$file" >&2; status=255
      fi ;;
  esac
done
exit $status
"#;

/// The calls that a log tells of, each with its arguments.
pub(super) fn calls(log: &str) -> Vec<Vec<String>> {
    let words = |call: &str| call.split(UNIT).map(str::to_owned).collect();
    log.split(RECORD).filter(|call| !call.is_empty()).map(words).collect()
}
