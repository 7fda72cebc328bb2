//! Logs of a folder of their own: written, tampered with, torn, rotated.

use super::log::Log;
use super::verify::{Verdict, verify};
use serde_json::{Map, Value as Json};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// A log that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("skep-audit-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("there is room for a folder");
        Folder(folder)
    }

    /// With so many lines.
    fn of(name: &str, lines: usize) -> Folder {
        let folder = Folder::new(name);
        (0..lines).for_each(|n| assert_eq!(folder.append(&format!("event {n}")), n as u64 + 1));
        folder
    }

    fn log(&self) -> Log {
        Log::new(self.0.join("audit.jsonl"))
    }

    fn append(&self, what: &str) -> u64 {
        self.log().append(said(what)).expect("a line is appended")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.log().path).expect("it is there").lines().map(str::to_owned).collect()
    }

    /// Changes the lines as somebody with an editor would.
    fn tamper(&self, how: impl FnOnce(&mut Vec<String>)) {
        let mut lines = self.lines();
        how(&mut lines);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.log().path, text).expect("it is written");
    }

    fn verify(&self) -> Result<Verdict, String> {
        self.verify_head(None)
    }

    fn verify_head(&self, head: Option<&str>) -> Result<Verdict, String> {
        let path = self.log().path;
        let named = path.display().to_string();
        verify(&path, head).map_err(|error| error.message.replace(&named, "FILE"))
    }

    /// The beginning of a line, as a crash leaves it.
    fn tear(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.log().path).expect("it can be opened");
        file.write_all(bytes).expect("there is room");
    }

    fn rotate(&self) {
        let log = self.log();
        for number in (1..7).rev().filter(|number| log.former(*number).exists()) {
            fs::rename(log.former(number), log.former(number + 1)).expect("it is renamed");
        }
        fs::rename(&log.path, log.former(1)).expect("it is renamed");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn said(what: &str) -> Map<String, Json> {
    Map::from_iter([("event".to_owned(), what.into())])
}

/// What `verify` says of seven lines that somebody has changed.
fn tampered(name: &str, how: impl FnOnce(&mut Vec<String>)) -> String {
    let folder = Folder::of(name, 7);
    folder.tamper(how);
    folder.verify().expect_err("it was tampered with")
}

#[test]
fn untouched_log_is_whole_and_its_head_is_the_last_hash() {
    let folder = Folder::of("whole", 7);
    let verdict = folder.verify().unwrap();
    let last: Json = serde_json::from_str(&folder.lines()[6]).unwrap();
    assert_eq!(
        (verdict.first, verdict.last, verdict.torn, verdict.head.as_str()),
        (1, 7, 0, last["hash"].as_str().unwrap())
    );
    assert!(verdict.text().contains("cut off at the end cannot be told"), "{}", verdict.text());
}

#[test]
fn altered_line_is_named() {
    for at in [0, 2, 6] {
        let error = tampered("altered", |lines| lines[at] = lines[at].replace("event", "EVENT"));
        assert_eq!(error, format!("line {} of `FILE` was altered", at + 1));
    }
    assert_eq!(tampered("garbled", |lines| lines[2] = "nothing".into()), "line 3 of `FILE` was altered");
}

#[test]
fn altered_line_with_a_new_hash_breaks_the_chain_behind_it() {
    let error = tampered("resealed", |lines| {
        let (body, _) = lines[2].rsplit_once(",\"hash\"").unwrap();
        let body = body.replace("event 2", "event 9");
        lines[2] = format!("{body},\"hash\":\"{}\"}}", super::entry::hash(body.as_bytes()));
    });
    assert_eq!(error, "line 4 of `FILE` does not follow the line before it: entry 3 or 4 was exchanged");
}

#[test]
fn removed_lines_are_counted_where_they_lack() {
    assert_eq!(
        tampered("removed", |lines| drop(lines.remove(3))),
        "line 4 of `FILE` is entry 5: entry 4 is not before it"
    );
    let error = tampered("removed-three", |lines| drop(lines.drain(2..5)));
    assert_eq!(error, "line 3 of `FILE` is entry 6: entries 3 to 5 are not before it");
    let error = tampered("beheaded", |lines| drop(lines.drain(..2)));
    assert_eq!(error, "line 1 of `FILE` is entry 3: those before it, up to 2, are not there");
}

#[test]
fn moved_and_repeated_lines_are_named() {
    assert_eq!(tampered("swapped", |lines| lines.swap(2, 3)), "line 3 of `FILE` is entry 4: entry 3 is not before it");
    let error = tampered("repeated", |lines| lines.insert(4, lines[1].clone()));
    assert_eq!(error, "line 5 of `FILE` is entry 2, and stands behind entry 4");
}

#[test]
fn lines_cut_off_at_the_end_are_found_by_a_head_that_was_noted() {
    let folder = Folder::of("cut", 7);
    let head = folder.verify().unwrap().head;
    folder.append("later");
    assert!(folder.verify_head(Some(&head)).unwrap().reached);
    folder.tamper(|lines| lines.truncate(6));
    assert!(!folder.verify().unwrap().reached);
    let error = folder.verify_head(Some(&head)).unwrap_err();
    assert_eq!(error, format!("no entry of `FILE` has the hash `{head}`: entries were cut off at its end"));
}

#[test]
fn seven_writers_have_one_chain() {
    let folder = Folder::new("writers");
    std::thread::scope(|scope| {
        for writer in 0..7 {
            let folder = &folder;
            scope.spawn(move || (0..23).map(|n| folder.append(&format!("{n} of {writer}"))).max());
        }
    });
    let verdict = folder.verify().unwrap();
    assert_eq!((verdict.first, verdict.last, verdict.torn), (1, 7 * 23, 0));
    for writer in 0..7 {
        let own = folder.lines().iter().filter(|line| line.contains(&format!(" of {writer}\""))).count();
        assert_eq!(own, 23, "of writer {writer}");
    }
}

#[test]
fn torn_line_is_chained_over_and_known_wherever_it_was_torn() {
    let line = Folder::of("one", 1).lines().remove(0);
    // With the newline alone missing it is whole.
    for length in (1..line.len()).step_by(17) {
        let folder = Folder::of("torn", 3);
        folder.tear(&line.as_bytes()[..length]);
        assert_eq!(folder.verify().unwrap().torn, 1);
        folder.append("after it");
        let verdict = folder.verify().unwrap();
        assert_eq!((verdict.last, verdict.torn), (4, 1), "torn behind {length} bytes");
        folder.tamper(|lines| lines[3].push('x'));
        assert_eq!(folder.verify().unwrap_err(), "line 4 of `FILE` was altered");
    }
}

#[test]
fn torn_line_that_was_taken_away_is_missed() {
    let folder = Folder::of("taken", 3);
    folder.tear(b"{\"v\":1,\"n\":4");
    folder.append("after it");
    folder.tamper(|lines| drop(lines.remove(3)));
    assert_eq!(
        folder.verify().unwrap_err(),
        "line 4 of `FILE` stands behind an unfinished line that is not there any more"
    );
}

#[test]
fn line_without_its_newline_and_torn_beginnings_are_chained_over() {
    let folder = Folder::of("open", 3);
    folder.tamper(|lines| lines.truncate(2));
    let path = folder.log().path;
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.trim_end()).unwrap();
    assert_eq!(folder.append("next"), 3);
    assert_eq!((folder.verify().unwrap().last, folder.verify().unwrap().torn), (3, 0));
    // Twice in a row, the second time in the line that was to chain over the first.
    folder.tear(b"{\"v\":1");
    folder.tear(b"\n{\"v\":1,\"n\"");
    assert_eq!(folder.append("at last"), 4);
    assert_eq!((folder.verify().unwrap().last, folder.verify().unwrap().torn), (4, 1));
    let folder = Folder::new("torn-first");
    folder.tear(b"{\"v\":");
    assert_eq!(folder.append("first"), 1);
    assert_eq!((folder.verify().unwrap().last, folder.verify().unwrap().torn), (1, 1));
}

#[test]
fn nothing_is_appended_to_a_line_that_was_altered() {
    let folder = Folder::of("refused", 3);
    folder.tamper(|lines| lines[2] = lines[2].replace("event", "EVENT"));
    let error = folder.log().append(said("next")).unwrap_err().to_string();
    assert_eq!(error, "its last line was altered, or is none of the log's");
    assert_eq!(folder.lines().len(), 3);
}

#[test]
fn rotated_log_goes_on_with_the_chain_of_the_file_beside_it() {
    let folder = Folder::of("rotated", 3);
    folder.rotate();
    assert_eq!(folder.append("fourth"), 4);
    folder.rotate();
    // As with logrotate's `create`.
    fs::write(folder.log().path, "").unwrap();
    assert_eq!(folder.append("fifth"), 5);
    let verdict = folder.verify().unwrap();
    assert_eq!((verdict.files.len(), verdict.first, verdict.last), (3, 1, 5));
    // The oldest goes some day.
    fs::remove_file(folder.log().former(2)).unwrap();
    let verdict = folder.verify().unwrap();
    assert_eq!((verdict.files.len(), verdict.first, verdict.last), (2, 4, 5));
    assert!(verdict.text().contains("entries before number 4 are in older files"), "{}", verdict.text());
    // Of what is left nothing may lack.
    folder.tamper(|lines| lines.clear());
    folder.append("sixth, it says");
    fs::remove_file(folder.log().former(1)).unwrap();
    assert_eq!(folder.verify().unwrap().first, 5);
    folder.append("next");
    folder.tamper(|lines| drop(lines.remove(0)));
    assert_eq!(folder.verify().unwrap_err(), "line 1 of `FILE` is entry 6: those before it, up to 5, are not there");
}

#[test]
fn log_is_for_its_owner_and_no_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::of("owner", 1);
    let mode = fs::metadata(folder.log().path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let linked = Log::new(folder.0.join("linked.jsonl"));
    symlink(folder.0.join("elsewhere"), &linked.path).unwrap();
    assert!(linked.append(said("event")).is_err());
    assert!(!folder.0.join("elsewhere").exists());
}
