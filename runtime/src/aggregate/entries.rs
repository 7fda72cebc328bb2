//! Entries: what a map holds as the kernel has it. Pure; no privilege.

/// Keys, and the words of their values: all one behind the other, since a table may have a million of them.
#[derive(Debug, Default)]
pub struct Entries {
    keys: Vec<u8>,
    words: Vec<u64>,
    /// Where each key and its words end.
    ends: Vec<(usize, usize)>,
}

impl Entries {
    pub fn push(&mut self, key: &[u8], words: impl IntoIterator<Item = u64>) {
        self.keys.extend_from_slice(key);
        self.words.extend(words);
        self.ends.push((self.keys.len(), self.words.len()));
    }

    /// A value of 64-bit words in the machine's byte order.
    pub fn push_bytes(&mut self, key: &[u8], value: &[u8]) {
        self.push(key, value.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())));
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u64])> {
        let mut start = (0, 0);
        self.ends.iter().map(move |end| {
            let (key, words) = std::mem::replace(&mut start, *end);
            (&self.keys[key..end.0], &self.words[words..end.1])
        })
    }
}

impl<K: AsRef<[u8]>, W: AsRef<[u64]>> FromIterator<(K, W)> for Entries {
    fn from_iter<I: IntoIterator<Item = (K, W)>>(entries: I) -> Self {
        let mut all = Entries::default();
        for (key, words) in entries {
            all.push(key.as_ref(), words.as_ref().iter().copied());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_may_be_of_several_sizes() {
        let mut entries = Entries::from_iter([(vec![1, 2], vec![23]), (Vec::new(), vec![5, 7])]);
        entries.push_bytes(&[3], &[101u64.to_ne_bytes(), 11u64.to_ne_bytes()].concat());
        let found = Vec::from_iter(entries.iter());
        assert_eq!(found, [(&[1, 2][..], &[23][..]), (&[], &[5, 7]), (&[3], &[101, 11])]);
    }
}
