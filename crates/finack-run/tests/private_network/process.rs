//! finack stopped, told to end, and killed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
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

/// The keeper of the finack that runs as `pid`.
fn keeper_of(pid: u32) -> i32 {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let parent = format!(" {pid} ");
    pids.into_iter()
        .find(|p| {
            let stat = std::fs::read_to_string(format!("/proc/{p}/stat")).unwrap_or_default();
            stat.contains("(finack-keeper)") && stat.contains(&parent)
        })
        .expect("a keeper")
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
    each_finack("hold", |mut finack| {
        let (pids, _output) = held(&mut finack);
        let keeper = keeper_of(finack.id());
        assert!(pids.iter().all(|p| runs(*p)) && runs(keeper));
        finack.kill().unwrap();
        finack.wait().unwrap();
        for pid in pids.into_iter().chain([keeper]) {
            assert!(ends(pid), "process {pid} stayed behind");
        }
    });
}

#[test]
fn the_program_ends_when_the_keeper_is_killed() {
    each_finack("hold", |mut finack| {
        let (pids, _output) = held(&mut finack);
        let keeper = Pid::from_raw(keeper_of(finack.id())).unwrap();
        rustix::process::kill_process(keeper, Signal::KILL).unwrap();
        assert!(ends(pids[2]), "the program");
        assert!(finack.wait().unwrap().success(), "finack sees it and goes on");
        // Orphans of the program went to whoever takes orphans; they are this test's to end.
        for pid in &pids[..2] {
            let _ = rustix::process::kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
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
