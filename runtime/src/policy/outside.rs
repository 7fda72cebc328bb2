//! What lies outside of the cluster: a CIDR peer matches no endpoint, nor the host, even where it holds their addresses.

use super::inventory::Inventory;
use super::rules::Prefix;
use crate::network::cidr::Cidr;

/// The prefixes inside, in order, none in another.
pub struct Outside {
    inside: Vec<Cidr>,
}

impl Outside {
    pub fn of(inventory: &Inventory) -> Outside {
        let hosts = inventory.endpoints.iter().flat_map(|one| one.addresses.iter().copied().map(Cidr::host));
        let lists = [&inventory.host, &inventory.remote_nodes, &inventory.cluster];
        let mut all: Vec<Cidr> = lists.into_iter().flatten().flatten().copied().chain(hosts).collect();
        // A prefix sorts before those that lie inside of it.
        all.sort_unstable();
        let mut inside: Vec<Cidr> = Vec::with_capacity(all.len());
        for cidr in all {
            if inside.last().is_none_or(|last| !last.covers(cidr)) {
                inside.push(cidr);
            }
        }
        Outside { inside }
    }

    pub fn inside(&self) -> Vec<Prefix> {
        self.inside.iter().map(|cidr| Prefix::from(*cidr)).collect()
    }

    /// What of `prefix` is outside; `None`: nothing.
    pub fn less(&self, prefix: &Prefix) -> Option<Prefix> {
        let from = self.inside.partition_point(|cidr| *cidr < prefix.cidr);
        let around = from.checked_sub(1).is_some_and(|before| self.inside[before].covers(prefix.cidr));
        let mut except: Vec<Cidr> =
            self.inside[from..].iter().copied().take_while(|cidr| prefix.cidr.covers(*cidr)).collect();
        if around || except.first() == Some(&prefix.cidr) {
            return None;
        }
        except.retain(|cidr| !prefix.except.iter().any(|wider| wider.covers(*cidr)));
        except.extend(&prefix.except);
        except.sort_unstable();
        Some(Prefix { cidr: prefix.cidr, except })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn less(inventory: &str, cidr: &str) -> Option<Vec<String>> {
        let inventory = Inventory::parse(inventory).expect("it is right");
        let prefix = Prefix::from(cidr.parse::<Cidr>().expect("it is a prefix"));
        let less = Outside::of(&inventory).less(&prefix)?;
        Some(less.except.iter().map(Cidr::to_string).collect())
    }

    #[test]
    fn only_what_lies_in_the_prefix_is_taken_out() {
        let inventory = "{cluster: [10.0.0.0/16], host: [10.1.0.1], endpoints: [{name: a, match: {ip: 10.0.3.4}}]}";
        let expect = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
        assert_eq!(less(inventory, "10.0.0.0/8"), expect(&["10.0.0.0/16", "10.1.0.1/32"]));
        assert_eq!(less(inventory, "10.1.0.0/24"), expect(&["10.1.0.1/32"]));
        assert_eq!(less(inventory, "10.2.0.0/16"), expect(&[]));
        assert_eq!(less(inventory, "::/0"), expect(&[]));
        for inside in ["10.0.0.0/16", "10.0.9.0/24", "10.0.3.4/32", "10.1.0.1/32"] {
            assert_eq!(less(inventory, inside), None, "{inside}");
        }
    }
}
