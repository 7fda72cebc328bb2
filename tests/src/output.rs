//! What a run of skep left: status and both streams, as text and as JSON.

use serde_json::Value;

pub struct Output {
    /// The command, for failures.
    pub line: String,
    /// `None`: ended by a signal.
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Output {
    /// Fails unless the run ended with status 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.status_is(0)
    }

    #[track_caller]
    pub fn status_is(self, status: i32) -> Output {
        assert_eq!(self.status, Some(status), "{self}");
        self
    }

    /// Objects of `--format json`.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let object =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}\n{self}"));
        self.out.lines().map(object).collect()
    }

    /// All objects of one type.
    #[track_caller]
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        self.json().into_iter().filter(|object| object["type"] == kind).collect()
    }

    /// The `n`th table.
    #[track_caller]
    pub fn table(&self, n: usize) -> Value {
        self.objects("table").get(n).cloned().unwrap_or_else(|| panic!("there is no table {n}\n{self}"))
    }

    /// The only value of the only table, which has no key.
    #[track_caller]
    pub fn value(&self) -> Value {
        let table = self.table(0);
        assert_eq!(table["rows"].as_array().map(Vec::len), Some(1), "{self}");
        table["rows"][0]["value"].clone()
    }

    /// Rows of the first table: the key's columns joined by blanks, and the value.
    #[track_caller]
    pub fn rows(&self) -> Vec<(String, Value)> {
        let table = self.table(0);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let row = |row: &Value| {
            let key = row["key"].as_object().map(|key| key.values().map(text).collect::<Vec<_>>().join(" "));
            (key.unwrap_or_default(), row["value"].clone())
        };
        table["rows"].as_array().into_iter().flatten().map(row).collect()
    }

    /// The row of a key, joined by blanks.
    #[track_caller]
    pub fn row(&self, key: &str) -> Value {
        let found = self.rows().into_iter().find(|(one, _)| one == key);
        found.unwrap_or_else(|| panic!("there is no row `{key}`\n{self}")).1
    }

    /// What the script printed, in JSON runs.
    #[track_caller]
    pub fn texts(&self) -> Vec<String> {
        self.objects("text").iter().map(|object| object["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// One count of the trust object.
    #[track_caller]
    pub fn trust(&self, count: &str) -> u64 {
        let objects = self.objects("trust");
        let [trust] = objects.as_slice() else { panic!("there are {} trust objects\n{self}", objects.len()) };
        trust[count].as_u64().unwrap_or_else(|| panic!("trust has no `{count}`\n{self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folder = std::env::current_dir().unwrap_or_default();
        let (head, rest) = self.out.split_at(self.out.floor_char_boundary(20_000));
        let cut = if rest.is_empty() { "" } else { "\n…\n" };
        writeln!(f, "$ {}\nfolder: {}\nstatus: {:?}", self.line, folder.display(), self.status)?;
        write!(f, "--- standard output\n{head}{cut}--- standard error\n{}---", self.err)
    }
}
