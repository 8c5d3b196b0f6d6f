//! finack stopped, told to end, and killed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use finack_run::namespace::{DevicePath, ProgramCommand};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::{ROLE, network, over_each_device};

/// Starts this binary as a finack of its own, once for each device that works here.
fn each_finack(role: &str, test: impl Fn(Child)) {
    for (path, name) in [(DevicePath::Tun, "tun"), (DevicePath::Veth, "veth")] {
        if network(path).is_none() {
            continue;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "plays_its_role", "--nocapture"]);
        command.env(ROLE, role).env("FINACK_TEST_DEVICE", name).stdout(Stdio::piped());
        // A shell would give it a group of its own too.
        command.process_group(0);
        test(command.spawn().unwrap());
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).unwrap()
}

fn runs(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => false,
    }
}

/// The session that a process is in; 0 is one whose leader is outside this pid namespace (which `rustix`'s `getsid`
/// does not take).
fn session(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse().ok()
}

fn ends(pid: i32) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while runs(pid) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// The child of `parent` that has this name.
fn child_called(name: &str, parent: u32) -> i32 {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parents = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        stat.contains(&format!("({name})")) && parents == Some(&parent.to_string())
    };
    pids.find(is_it).unwrap_or_else(|| panic!("{parent} has no child called {name}"))
}

/// The guard and the keeper of the finack that runs as `pid`.
fn guard_and_keeper(pid: u32) -> (i32, i32) {
    let guard = child_called("network-guard", pid);
    (guard, child_called("finack-keeper", guard as u32))
}

fn kill(pid: i32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Names of the network and mount namespace of a process.
fn namespaces(pid: i32) -> Vec<PathBuf> {
    ["net", "mnt"].iter().flat_map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))).collect()
}

/// Whether some process is in one of these.
fn inhabited(namespaces: &[PathBuf]) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.flat_map(self::namespaces).any(|one| namespaces.contains(&one))
}

/// Kills something of a running finack by what `how` does with finack, its guard and its keeper. All that it had,
/// processes and namespaces, must go.
fn nothing_is_left_after(how: impl Fn(&Child, i32, i32)) {
    each_finack("hold", |mut finack| {
        let (pids, _output) = held(&mut finack);
        let (guard, keeper) = guard_and_keeper(finack.id());
        let inside = namespaces(pids[2]);
        assert_eq!(inside.len(), 2);
        // While they are open, no other test's namespace can get their numbers.
        let open = |kind: &str| File::open(format!("/proc/{}/ns/{kind}", pids[2])).unwrap();
        let _numbers = (open("net"), open("mnt"));
        // The second has a session of its own once `setsid` has come so far.
        let mut patience = 1000;
        while session(pids[1]) != Some(pids[1]) && patience > 0 {
            patience -= 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(patience > 0, "no session of its own");
        assert!(pids.iter().all(|p| runs(*p)) && inhabited(&inside));
        how(&finack, guard, keeper);
        finack.wait().unwrap();
        for pid in pids.into_iter().chain([keeper, guard]) {
            assert!(ends(pid), "process {pid} stayed behind");
        }
        assert!(!inhabited(&inside), "a namespace stayed behind");
    });
}

/// The processes of a finack in the role `hold`, once it knows that its program runs. The output
/// must stay open as long as they are to run.
fn held(finack: &mut Child) -> (Vec<i32>, impl Sized + use<>) {
    let mut lines = BufReader::new(finack.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut pids, mut spawned) = (Vec::new(), false);
    while pids.len() < 3 || !spawned {
        let line = lines.next().expect("the role's output");
        pids.extend(line.trim().parse::<i32>());
        spawned |= line.contains("spawned");
    }
    (pids, lines)
}

#[test]
fn nothing_outlives_a_finack_that_is_killed() {
    nothing_is_left_after(|finack, _, _| kill(finack.id() as i32, Signal::KILL));
}

/// The program's descendant in a session of its own, too.
#[test]
fn nothing_outlives_a_process_group_that_is_killed() {
    nothing_is_left_after(|finack, _, _| {
        rustix::process::kill_process_group(pid(finack), Signal::KILL).unwrap();
    });
}

#[test]
fn nothing_outlives_a_keeper_that_is_killed() {
    nothing_is_left_after(|_, _, keeper| kill(keeper, Signal::KILL));
}

#[test]
fn nothing_outlives_a_guard_that_is_killed() {
    nothing_is_left_after(|_, guard, _| kill(guard, Signal::KILL));
}

/// A keeper that can't do its work is given up.
#[test]
fn nothing_outlives_a_finack_whose_keeper_is_stopped() {
    nothing_is_left_after(|finack, _, keeper| {
        kill(keeper, Signal::STOP);
        kill(finack.id() as i32, Signal::KILL);
    });
}

#[test]
fn the_program_ends_when_the_keeper_is_killed() {
    each_finack("hold", |mut finack| {
        let (pids, _output) = held(&mut finack);
        kill(guard_and_keeper(finack.id()).1, Signal::KILL);
        assert!(ends(pids[2]), "the program");
        assert!(finack.wait().unwrap().success(), "finack sees it and goes on");
    });
}

#[test]
fn nothing_outlives_a_network_that_is_dropped() {
    over_each_device(|network| {
        let (output, _) = crate::shell(&network, "setsid sleep 1000 >/dev/null 2>&1 & echo $!");
        let pid: i32 = output.trim().parse().unwrap();
        assert!(runs(pid));
        let start = Instant::now();
        network.close();
        assert!(!runs(pid), "closing waits for it");
        assert!(start.elapsed() < Duration::from_secs(3));
    });
}

#[test]
fn a_program_that_ignores_sigterm_ends_too() {
    over_each_device(|network| {
        let (output, _) =
            crate::shell(&network, "sh -c 'trap : TERM; echo $$; exec >&-; while :; do sleep 1; done' &");
        let pid: i32 = output.trim().parse().unwrap();
        network.close();
        assert!(!runs(pid));
    });
}

#[test]
fn a_program_that_stops_stops_finack_and_both_go_on() {
    each_finack("stopped", |mut finack| {
        let (_, status) =
            rustix::process::waitpid(Some(pid(&finack)), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "finack stops with its program: {status:?}");
        rustix::process::kill_process(pid(&finack), Signal::CONT).unwrap();
        assert_eq!(finack.wait().unwrap().code(), Some(7));
    });
}

#[test]
fn a_program_that_stops_is_no_business_of_an_embedder() {
    over_each_device(|network| {
        let command = ProgramCommand::new("sh").args(["-c", "kill -STOP $$; exit 7"]);
        let mut child = network.spawn(&command).unwrap();
        while !std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") T ") {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(child.try_wait().unwrap(), None);
        child.signal(libc_sigcont()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7));
    });
}

fn libc_sigcont() -> i32 {
    Signal::CONT.as_raw()
}

#[test]
fn a_finack_that_is_told_to_end_leaves_it_to_the_program() {
    each_finack("forwarding", |mut finack| {
        let mut output = BufReader::new(finack.stdout.take().unwrap());
        let mut seen = String::new();
        while !(seen.contains("forwarding") && seen.contains("ready")) {
            assert!(output.read_line(&mut seen).unwrap() > 0, "{seen}");
        }
        rustix::process::kill_process(pid(&finack), Signal::TERM).unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        let status = finack.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(9), None), "the program's trap ran");
    });
}
