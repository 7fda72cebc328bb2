//! A kernel and an emulator, ready to boot: from the cache, or from Debian's archive.

use super::apt::Apt;
use super::cache::Cache;
use super::kernels::{Kernel, MODULES};
use super::{modules, payload, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel that is here.
#[derive(Debug)]
pub struct Fetched {
    pub kernel: Kernel,
    pub folder: PathBuf,
    /// As `uname -r` says it.
    pub release: String,
    /// Name and version of its package.
    pub package: String,
}

/// # Errors
/// It cannot be had; names it.
pub fn kernel(cache: &Cache, kernel: Kernel) -> Result<Fetched, String> {
    let failed = |said: String| format!("vm: kernel `{kernel}` is not here and cannot be had\n{said}");
    // Another list of modules is another folder.
    let name = format!("kernels/{kernel}-{:08x}", fingerprint(MODULES));
    let folder = cache.sealed(&name, |folder| unpack_kernel(cache, kernel, folder)).map_err(failed)?;
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| format!("failed to read {}: {error}", path.display()))
    };
    let packages = read("packages")?;
    let package = packages.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Ok(Fetched { kernel, release: read("release")?, package, folder })
}

/// FNV-1a.
fn fingerprint(words: &[&str]) -> u32 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn unpack_kernel(cache: &Cache, kernel: Kernel, folder: &Path) -> Result<(), String> {
    eprintln!("vm: fetching kernel {kernel} from Debian's {}", kernel.suite);
    let apt = Apt::of(cache, kernel.suite)?;
    let meta = "linux-image-cloud-amd64";
    let depends = apt.field(meta, "Depends")?;
    let mut words = depends.split([' ', ',']);
    let image = words.find(|word| {
        word.strip_prefix("linux-image-").is_some_and(|abi| abi.starts_with(|c: char| c.is_ascii_digit()))
    });
    let image = image.ok_or_else(|| format!("vm: {meta} depends on no kernel: {depends}"))?;
    let release = image.trim_start_matches("linux-image-");
    // Split in three since Linux 7: then the image's package is empty.
    let parts = ["binary", "modules"].map(|part| format!("linux-{part}-{release}"));
    let is_split = apt.field(image, "Depends")?.contains(&parts[0]);
    let packages: Vec<&str> = if is_split { parts.iter().map(String::as_str).collect() } else { vec![image] };
    let scratch = cache.scratch()?;
    let described = apt.unpack(&packages, &scratch.0)?;
    let image = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let image = image.iter().map(|path| scratch.0.join(path)).find(|path| path.is_file());
    let image = image.ok_or_else(|| format!("vm: no kernel in {}", packages.join(", ")))?;
    let failed = |error| format!("failed to unpack kernel {kernel}: {error}");
    let vmlinux = payload::vmlinux(&fs::read(image).map_err(failed)?)?;
    fs::write(folder.join("vmlinux"), vmlinux).map_err(failed)?;
    // depmod looks below lib/ only.
    if !scratch.0.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", scratch.0.join("lib")).map_err(failed)?;
    }
    modules::collect(&scratch.0, release, MODULES, &folder.join("modules"))?;
    fs::write(folder.join("release"), release).map_err(failed)?;
    fs::write(folder.join("packages"), described.join("\n") + "\n").map_err(failed)
}

/// The start of a command line. Debian 12's own QEMU 7.2 corrupts modern kernels under emulation (flags after cmpxchg16b,
/// self-modifying code on two CPUs): there, version 10 of its backports, unpacked, with the libraries of 7.2.
pub fn qemu(cache: &Cache) -> Result<Vec<String>, String> {
    const PROGRAM: &str = "qemu-system-x86_64";
    const GOOD: u32 = 10;
    let said = tool::output(Command::new(PROGRAM).arg("--version")).map_err(|_| {
        format!("failed to run `{PROGRAM}`\nrun: apt-get install -y --no-install-recommends qemu-system-x86")
    })?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let version = said.split("version ").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
    if version.is_some_and(|version: u32| version >= GOOD) {
        return Ok(vec![PROGRAM.to_owned()]);
    }
    let folder = cache.sealed("qemu", |folder| {
        eprintln!("vm: fetching QEMU from Debian's bookworm-backports");
        let apt = Apt::of(cache, "bookworm-backports")?;
        let packages = apt.unpack(&["qemu-system-x86", "qemu-system-data", "seabios"], folder)?;
        fs::write(folder.join("packages"), packages.join("\n") + "\n")
            .map_err(|error| format!("failed to unpack QEMU: {error}"))
    })?;
    let file = |path: &str| folder.join(path).display().to_string();
    let data = ["-L".to_owned(), file("usr/share/qemu"), "-L".to_owned(), file("usr/share/seabios")];
    Ok([file("usr/bin/qemu-system-x86_64")].into_iter().chain(data).collect())
}
