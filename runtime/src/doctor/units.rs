//! What lets people trace who are not root: capabilities of the file, or the helper as a service. Pure text.

use crate::helper::SOCKET;
use crate::permit::FILE;
use std::path::Path;

/// What a file of skep takes to trace: to load, to trace, to read tracefs, to name functions.
const OF_THE_FILE: &str = "cap_bpf,cap_perfmon,cap_dac_read_search,cap_syslog,cap_sys_ptrace";

/// The line that gives it to `program`; whoever may execute it may trace everything then.
pub fn setcap(program: &Path) -> String {
    format!("sudo setcap {OF_THE_FILE}+ep {}", program.display())
}

/// A shell script: the line, and the helper's units.
pub fn text(program: &Path) -> String {
    let (setcap, program) = (setcap(program), program.display());
    format!(
        "\
# Either: whoever may execute it traces everything.
#   sudo chgrp tracing {program} && sudo chmod 750 {program}
#   {setcap}
#
# Or: people ask the helper, which does what {FILE} permits.
#   skep doctor --units | sudo sh
set -e
cat > /etc/systemd/system/skep-helper.socket <<'END'
[Unit]
Description=Tracing for people without privilege (skep)

[Socket]
ListenStream={SOCKET}
SocketMode=0666

[Install]
WantedBy=sockets.target
END
cat > /etc/systemd/system/skep-helper.service <<'END'
[Unit]
Description=Tracing for people without privilege (skep)
Documentation=file:{FILE}

[Service]
ExecStart={program} helper
LogsDirectory=skep
LogsDirectoryMode=0700
CapabilityBoundingSet=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SYS_RESOURCE CAP_IPC_LOCK CAP_SYS_PTRACE CAP_SYSLOG CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_KILL
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateNetwork=no
RestrictRealtime=yes
LockPersonality=yes
MemoryMax=1G
TasksMax=512
END
systemctl daemon-reload
systemctl enable --now skep-helper.socket
"
    )
}
