//! The table that an entry counts in, and the keys that its programs keep near.

use crate::aggregate::cell::Kind;
use crate::aggregate::{Builder, Entries, Spec, Table, heavy, near};
use crate::kernel::map::{Map, Shape};
use crate::kernel::sys;
use std::io;

/// In the kernel; gone when dropped, once no program uses it.
pub struct Aggregation {
    table: Map,
    near: Option<[Map; 2]>,
}

impl Aggregation {
    /// # Errors
    /// The kernel's: no privilege, no memory, an impossible shape.
    pub fn create(shape: Shape) -> io::Result<Aggregation> {
        let table = Map::create_sparse("aggregate", shape)?;
        let near = match near::words(Some(shape)) {
            0 => None,
            _ => {
                let ([places, taken], names) = (near::shapes(sys::possible_cpus()?), near::MAPS);
                Some([Map::create(names[0], places)?, Map::create_sparse(names[1], taken)?])
            }
        };
        Ok(Aggregation { table, near })
    }

    /// Its maps, by the names that templates have for them.
    pub fn maps(&self) -> impl Iterator<Item = (&'static str, &Map)> {
        let near = self.near.iter().flat_map(|maps| near::MAPS.into_iter().zip(maps));
        [("aggregate", &self.table)].into_iter().chain(near)
    }

    /// Keys, and the words of their values; what was kept near stands behind the table, under keys of its own.
    ///
    /// # Errors
    /// The kernel's.
    pub fn entries(&self, spec: &Spec) -> io::Result<Entries> {
        let mut entries = Entries::default();
        self.each(spec, |key, words| entries.push(key, words.iter().copied()))?;
        Ok(entries)
    }

    /// The same, added up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn table(&self, spec: &Spec) -> io::Result<Table> {
        let mut builder = Builder::new(spec.clone());
        self.each(spec, |key, words| builder.add(key, words, |_, value| value))?;
        Ok(builder.finish())
    }

    fn each(&self, spec: &Spec, mut show: impl FnMut(&[u8], &[u64])) -> io::Result<()> {
        if spec.kind == Kind::Heavy {
            let all = heavy::added_up(spec.key_size(), self.table.shape.max_entries, self.table.entries()?);
            all.iter().for_each(|(key, words)| show(key, words));
            return Ok(());
        }
        let mut words = Vec::new();
        self.table.each(|key, value| {
            words.clear();
            words.extend(value.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())));
            show(key, &words);
        })?;
        if let Some([places, _]) = &self.near {
            let (places, mut kept) = (places.lookup(&0u32.to_ne_bytes())?.unwrap_or_default(), Entries::default());
            near::add(&mut kept, &places, self.table.shape.key_size as usize, spec.kind.words());
            kept.iter().for_each(|(key, words)| show(key, words));
        }
        Ok(())
    }

    /// Begins anew. Keys keep their near places.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self) -> io::Result<()> {
        self.table.clear()?;
        let Some([places, _]) = &self.near else { return Ok(()) };
        let first = 0u32.to_ne_bytes();
        let mut all = places.lookup(&first)?.unwrap_or_default();
        near::clear(&mut all);
        places.update(&first, &all)
    }
}
