//! Users and groups of the keeper's user namespace (user_namespaces(7)).

use std::fs;
use std::io;

use rustix::process::Pid;

use super::caps::Privileges;

/// Maps users and groups to themselves: all that there are where the caller may, else the
/// caller's own only.
pub(super) fn write(keeper: Pid, privileges: &Privileges) -> io::Result<()> {
    let directory = format!("/proc/{}", keeper.as_raw_nonzero());
    if privileges.can_map_anyone() {
        let all = |name| -> io::Result<()> {
            let own = fs::read_to_string(format!("/proc/self/{name}"))?;
            fs::write(format!("{directory}/{name}"), identity(&own))
        };
        if all("uid_map").is_ok() {
            return all("gid_map");
        }
    }
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // Without this an ordinary user may not map its group: it could shed groups that deny it something.
    fs::write(format!("{directory}/setgroups"), "deny")?;
    fs::write(format!("{directory}/uid_map"), format!("{user} {user} 1\n"))?;
    fs::write(format!("{directory}/gid_map"), format!("{group} {group} 1\n"))
}

/// A map of the same identities to themselves: of each line `inside outside count` that is
/// in force here, the first column counts, for it is the parent namespace's view there.
pub(super) fn identity(own: &str) -> String {
    let mut map = String::new();
    for line in own.lines() {
        let mut fields = line.split_whitespace();
        if let (Some(first), Some(_), Some(count)) = (fields.next(), fields.next(), fields.next()) {
            map.push_str(&format!("{first} {first} {count}\n"));
        }
    }
    map
}
