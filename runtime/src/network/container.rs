//! Containers: which one a cgroup is, by its path, and what the runtime's own files call it. Reads files below a root
//! folder, no socket; needs the right to read them.

use serde_json::Value as Json;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Containerd,
    CriO,
    Docker,
    Podman,
    /// The path does not tell.
    Unknown,
}

/// A container, as far as its cgroup's path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// With dashes.
    pub pod_uid: Option<String>,
    pub runtime: Runtime,
}

/// What the runtime calls it; empty where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub container: String,
    pub image: String,
    pub pod: String,
    pub namespace: String,
}

/// The container that a cgroup belongs to: itself or the nearest one above it.
///
/// `/kubepods/burstable/pod<UID>/<id>`, `…-pod<UID with _>.slice/cri-containerd-<id>.scope`, `/docker/<id>` and others.
pub fn of_path(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').collect();
    let (at, runtime, id) = parts.iter().enumerate().rev().find_map(|(at, part)| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        // `…slice:cri-containerd:<id>` where systemd's driver was asked for and systemd is not there.
        let (prefix, id) = match part.rsplit_once([':', '-']) {
            Some((prefix, id)) => (prefix.rsplit(':').next().unwrap_or(prefix), id),
            None => ("", part),
        };
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Its monitor is no part of a container.
        (is_id && !prefix.ends_with("conmon")).then_some((at, runtime(prefix), id))
    })?;
    let above = &parts[..at];
    let runtime = match above.last() {
        Some(&"docker") => Runtime::Docker,
        Some(&"libpod_parent") => Runtime::Podman,
        _ => runtime,
    };
    let pod_uid = parts[..=at].iter().rev().find_map(|part| pod_uid(part));
    Some(Container { id: id.to_owned(), pod_uid, runtime })
}

fn runtime(prefix: &str) -> Runtime {
    match prefix {
        "cri-containerd" | "containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "docker" => Runtime::Docker,
        "libpod" => Runtime::Podman,
        _ => Runtime::Unknown,
    }
}

/// `pod<UID>` or `kubepods-…-pod<UID>.slice`.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.split(':').next().unwrap_or(part);
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.rfind("-pod") {
        Some(at) => &part[at + 4..],
        None => part.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    // Of a static pod it is a hash without dashes.
    (digits == 32 && uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())).then_some(uid)
}

/// The files of container runtimes, below a folder: `/`, or where a host's root is mounted.
#[derive(Clone, Debug)]
pub struct Runtimes {
    root: PathBuf,
}

impl Runtimes {
    pub fn new(root: impl Into<PathBuf>) -> Runtimes {
        Runtimes { root: root.into() }
    }

    /// What its runtime says; `None`: no runtime knows it, or its files cannot be read.
    pub fn name(&self, container: &Container) -> Option<Named> {
        let id = &container.id;
        let bundle =
            |namespace: &str| format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}/config.json");
        let stored = |folder: &str| format!("{folder}/containers/storage/overlay-containers/{id}/userdata/config.json");
        let annotated = [bundle("k8s.io"), bundle("default"), stored("run"), stored("var/lib")];
        let docker = format!("var/lib/docker/containers/{id}/config.v2.json");
        annotated
            .iter()
            .find_map(|path| annotations(&self.read(path)?))
            .or_else(|| Some(of_docker(&self.read(&docker)?)))
    }

    fn read(&self, path: &str) -> Option<Json> {
        let text = std::fs::read_to_string(self.root.join(Path::new(path))).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// Of an OCI bundle. Keys of containerd's CRI and of CRI-O.
pub(crate) fn annotations(config: &Json) -> Option<Named> {
    let annotations = config["annotations"].as_object()?;
    let any = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| annotations.get(*key)?.as_str().filter(|text| !text.is_empty()));
        found.unwrap_or_default().to_owned()
    };
    let named = Named {
        container: any(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]),
        image: any(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]),
        pod: any(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.cri-o.KubeName", "io.kubernetes.pod.name"]),
        namespace: any(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri-o.Namespace"]),
    };
    (named != Named::default()).then_some(named)
}

pub(crate) fn of_docker(config: &Json) -> Named {
    let labels = &config["Config"]["Labels"];
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let name = config["Name"].as_str().unwrap_or_default().trim_start_matches('/');
    let of_pod = text(&labels["io.kubernetes.container.name"]);
    Named {
        container: if of_pod.is_empty() { name.to_owned() } else { of_pod },
        image: text(&config["Config"]["Image"]),
        pod: text(&labels["io.kubernetes.pod.name"]),
        namespace: text(&labels["io.kubernetes.pod.namespace"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "3f2a1b4c-5d6e-7f80-91a2-b3c4d5e6f708";

    #[test]
    fn paths_of_all_runtimes_and_drivers_are_known() {
        let slice = UID.replace('-', "_");
        let pods = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice");
        let cases = [
            (format!("/kubepods/burstable/pod{UID}/{ID}"), true, Runtime::Unknown),
            (format!("/kubepods/pod{UID}/{ID}/init.scope"), true, Runtime::Unknown),
            (format!("{pods}/cri-containerd-{ID}.scope"), true, Runtime::Containerd),
            (format!("{pods}/crio-{ID}.scope/container"), true, Runtime::CriO),
            (format!("{pods}/docker-{ID}.scope"), true, Runtime::Docker),
            (format!("/kubepods-besteffort-pod{slice}.slice:cri-containerd:{ID}"), true, Runtime::Containerd),
            (format!("/system.slice/docker-{ID}.scope"), false, Runtime::Docker),
            (format!("/docker/{ID}"), false, Runtime::Docker),
            (format!("/machine.slice/libpod-{ID}.scope/container"), false, Runtime::Podman),
        ];
        for (path, of_pod, runtime) in cases {
            let found = of_path(&path).unwrap_or_else(|| panic!("{path}"));
            let pod_uid = of_pod.then(|| UID.to_owned());
            assert_eq!(found, Container { id: ID.to_owned(), pod_uid, runtime }, "{path}");
        }
        let crio = format!("{pods}/crio-conmon-{ID}.scope");
        for path in ["/", "", "/user.slice/user-0.slice", "/kubepods/burstable", &crio] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }

    #[test]
    fn runtimes_files_name_containers_and_pods() {
        let root = std::env::temp_dir().join(format!("skep-containers-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            let folder = path.parent().expect("it has a folder");
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text)).expect("it is ours");
        };
        let id = |digit: &str| digit.repeat(64);
        write(
            &format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json", id("a")),
            r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-name":"nginx","io.kubernetes.cri.container-type":"container","io.kubernetes.cri.image-name":"docker.io/library/nginx:1.27","io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop"}}"#,
        );
        write(
            &format!("run/containers/storage/overlay-containers/{}/userdata/config.json", id("b")),
            r#"{"annotations":{"io.kubernetes.container.name":"db","io.kubernetes.cri-o.ImageName":"quay.io/db:3","io.kubernetes.cri-o.KubeName":"db-1","io.kubernetes.cri-o.Name":"k8s_db","io.kubernetes.cri-o.Namespace":"shop"}}"#,
        );
        write(
            &format!("var/lib/docker/containers/{}/config.v2.json", id("c")),
            r#"{"Name":"/lone","Config":{"Image":"alpine","Labels":{}}}"#,
        );
        write(&format!("var/lib/docker/containers/{}/config.v2.json", id("d")), "not JSON");
        let runtimes = Runtimes::new(&root);
        let name = |digit: &str| runtimes.name(&of_path(&format!("/docker/{}", id(digit))).expect("it is one"));
        let named = |container: &str, image: &str, pod: &str, namespace: &str| {
            let [container, image, pod, namespace] = [container, image, pod, namespace].map(str::to_owned);
            Some(Named { container, image, pod, namespace })
        };
        assert_eq!(name("a"), named("nginx", "docker.io/library/nginx:1.27", "web-0", "shop"));
        assert_eq!(name("b"), named("db", "quay.io/db:3", "db-1", "shop"));
        assert_eq!(name("c"), named("lone", "alpine", "", ""));
        assert_eq!((name("d"), name("e")), (None, None));
        std::fs::remove_dir_all(&root).expect("it is ours");
    }
}
