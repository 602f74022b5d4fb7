//! Stories in namespaces of their own: nobody else sees the mounts and networks that they make, and they are gone with them.

use std::io;

const INSIDE: &str = "RINGKEEPER_TEST_INSIDE_UNSHARE";

/// Runs `story` on a thread in new namespaces (`CLONE_NEWNS`, `CLONE_NEWNET`), which threads and processes begun by it share; it first
/// makes what it needs root for, and says if that is forbidden. Then this test, which is called `test`, is run again inside
/// `unshare`, and where that is forbidden as well it says so and proves nothing.
pub fn with_namespaces(test: &str, flags: libc::c_int, story: impl FnOnce() -> io::Result<()> + Send) {
    let on_own_thread = std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: a plain system call; the namespaces are this thread's alone.
            let unshared = match unsafe { libc::unshare(flags) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            };
            let told = unshared.and_then(|()| story());
            told.inspect_err(|error| eprintln!("no namespaces of our own: {error}")).is_ok()
        });
        thread.join().unwrap_or_else(|failed| std::panic::resume_unwind(failed))
    });
    if on_own_thread {
        return;
    }
    assert!(std::env::var(INSIDE).is_err(), "unshare let us in and it is still forbidden");
    let unshare = || {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "--net"]);
        unshare
    };
    if unshare().arg("true").status().is_ok_and(|status| status.success()) {
        let mut inside = unshare();
        inside.arg(std::env::current_exe().expect("our own path"));
        inside.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
        assert!(inside.status().expect("unshare ran just now").success(), "the story inside unshare failed");
    } else {
        eprintln!("NOT TESTED: {test} needs root, or unshare with user namespaces");
    }
}
