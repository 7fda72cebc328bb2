//! The emulated machine: one QEMU process, its console and reports in files, the command's two outputs streamed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Shared by every boot: reports by the last serial line, nothing that takes time and that no test needs. Without
/// multipath the disk of a request is the one that users see.
const APPEND: &str = "console=ttyS0 quiet panic=-1 nvme_core.multipath=N cryptomgr.notests \
    initcall_blacklist=load_system_certificate_list,init_encrypted,jent_mod_init,crypto_kdf108_init,vga_arb_device_init";

pub struct Qemu<'a> {
    /// Program and data folders, as [`super::fetch::qemu`] gives them.
    pub program: &'a [String],
    pub vmlinux: PathBuf,
    pub cpus: u32,
    pub memory: &'a str,
    pub append: &'a str,
    pub timeout: Duration,
    /// Holds `initramfs` and `disk`; gets `console` and `reports`.
    pub folder: &'a Path,
}

impl Qemu<'_> {
    /// Runs the machine to its end; false: it took too long.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn run(&self, out: impl Write + Send, err: impl Write + Send) -> Result<bool, String> {
        // Ended with us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(self.program).args(self.arguments());
        // Pipes: QEMU opens its outputs by path, which would empty a file that ours go to.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("failed to run setpriv: {error}\nrun: apt-get install -y util-linux"))?;
        let (from_out, from_err) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            scope.spawn(|| pass_on(from_out, out));
            scope.spawn(|| pass_on(from_err, err));
            wait(&mut child, self.timeout)
        })
    }

    fn arguments(&self) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut arguments: Vec<String> =
            "-accel tcg,thread=multi -M pc,hpet=off -cpu max -display none -nodefaults -no-reboot"
                .split(' ')
                .map(str::to_owned)
                .collect();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-smp", self.cpus.to_string());
        add("-m", self.memory.to_owned());
        add("-kernel", self.vmlinux.display().to_string());
        add("-initrd", file("initramfs"));
        add("-append", format!("{APPEND} {}", self.append));
        // The agent leaves through this port: no time is lost with an orderly end.
        add("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04".to_owned());
        add("-serial", format!("file:{}", file("console")));
        add("-serial", "null".to_owned());
        add("-serial", "null".to_owned());
        add("-serial", format!("file:{}", file("reports")));
        // Serial lines carry 0.3 MB/s, these 70.
        add("-device", "virtio-serial-pci".to_owned());
        for (number, name) in [(1, "out"), (2, "err")] {
            add("-chardev", format!("file,id={name},path=/proc/self/fd/{number}"));
            add("-device", format!("virtserialport,chardev={name},name={name}"));
        }
        add("-drive", format!("file={},if=none,id=disk,format=raw,cache=unsafe", file("disk")));
        add("-device", "nvme,serial=disk,drive=disk".to_owned());
        arguments
    }
}

fn pass_on(from: Option<impl Read>, mut to: impl Write) {
    let mut chunk = vec![0; 64 << 10];
    let Some(mut from) = from else { return };
    // A reader that is gone does not end the guest; its status still counts.
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        let _written = to.write_all(&chunk[..count]).and_then(|()| to.flush());
    }
}

fn wait(child: &mut Child, timeout: Duration) -> Result<bool, String> {
    let since = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(true),
            Ok(None) if since.elapsed() < timeout => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ended = child.kill();
                let _ended = child.wait();
                return Ok(false);
            }
            Err(error) => return Err(format!("failed to wait for QEMU: {error}")),
        }
    }
}
