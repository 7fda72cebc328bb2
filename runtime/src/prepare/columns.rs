//! Columns of a key or a record: types that hold what every attach point delivers, and the code that writes them.

use super::too_large;
use crate::aggregate::column::{self, BytesShow, ColumnKind, ColumnType, Show};
use crate::diagnostic::Diagnostic;
use crate::plan::{self, Entry};
use crate::resolve::{Typed, Walk};
use crate::slot::assembler::Insn;
use crate::slot::compile;
use crate::slot::ir::{Column, Content, Int, Size, Text};

/// Column types that hold what every point delivers: the longest text; all integers are 8 bytes.
pub fn unify(columns: &[&plan::Column], resolved: &[&[Typed]], entry: &Entry) -> Result<Vec<ColumnType>, Diagnostic> {
    let mut types = Vec::new();
    for (n, column) in columns.iter().enumerate() {
        let mut kind: Option<ColumnKind> = None;
        for one in resolved {
            let found = match &one[n] {
                Typed::Int { unsigned, show, .. } => ColumnKind::Int { size: 8, signed: !unsigned, show: *show },
                Typed::Text { size, .. } => ColumnKind::Text { size: *size },
                Typed::Bytes { size, show, .. } => ColumnKind::Bytes { size: *size, show: *show },
                Typed::Path { size, .. } => ColumnKind::Path { size: *size },
                Typed::UserAddress { .. } => ColumnKind::USER_SYMBOL,
                Typed::Address { .. } => ColumnKind::Bytes { size: 16, show: BytesShow::Ip },
                Typed::Called { show, .. } => ColumnKind::Called(*show),
                // Of those left, pointers and structures were settled.
                _ => ColumnKind::Int { size: 8, signed: false, show: Show::Decimal },
            };
            kind = Some(match (kind, found) {
                (None, found) => found,
                (Some(ColumnKind::Int { signed: a, show, .. }), ColumnKind::Int { signed: b, .. }) => {
                    ColumnKind::Int { size: 8, signed: a || b, show }
                }
                // A chain that has its caller in it has none apart.
                (
                    Some(ColumnKind::Called(a) | ColumnKind::Int { show: Show::Stack(a), .. }),
                    ColumnKind::Called(b) | ColumnKind::Int { show: Show::Stack(b), .. },
                ) if a == b => ColumnKind::Called(a),
                (Some(ColumnKind::Text { size: a }), ColumnKind::Text { size: b }) => {
                    ColumnKind::Text { size: a.max(b) }
                }
                (Some(ColumnKind::Path { size: a }), ColumnKind::Path { size: b }) if a == b => {
                    ColumnKind::Path { size: a }
                }
                (Some(ColumnKind::Bytes { size: a, show }), ColumnKind::Bytes { size: b, .. }) if a == b => {
                    ColumnKind::Bytes { size: a, show }
                }
                _ => {
                    let message = format!(
                        "`{}` is of different kinds at the attach points of `{}`",
                        column.expr,
                        entry.source_text()
                    );
                    return Err(Diagnostic::script(message)
                        .at(column.expr.position.or(entry.position))
                        .help("one probe for each kind"));
                }
            });
        }
        let kind = kind.unwrap_or(ColumnKind::Bytes { size: 0, show: BytesShow::Hex });
        types.push(ColumnType { name: column.name.clone(), kind, unit: None });
    }
    Ok(types)
}

/// Bytes that columns take together.
pub fn size(columns: &[ColumnType]) -> usize {
    let end = |(offset, column): (usize, &ColumnType)| (offset + column.kind.size()).next_multiple_of(8);
    column::offsets(columns, 0).zip(columns).map(end).max().unwrap_or(0)
}

/// The code that writes `columns`; `None` where there are none. `key`: see [`compile::columns`].
pub fn columns_slot(columns: &[ColumnType], typed: &[Typed], key: bool) -> Result<Option<Vec<Insn>>, Diagnostic> {
    let mut laid = Vec::with_capacity(columns.len());
    for ((column, offset), typed) in columns.iter().zip(column::offsets(columns, 0)).zip(typed) {
        let content = match (typed.clone(), column.kind) {
            (Typed::UserAddress { address, pid }, _) => {
                laid.push(Column { offset: offset as u16 + 8, content: Content::Int { value: pid, size: Size::B8 } });
                Content::Int { value: address, size: Size::B8 }
            }
            (Typed::Address { high, low }, _) => {
                laid.push(Column { offset: offset as u16 + 8, content: Content::Int { value: low, size: Size::B8 } });
                Content::Int { value: high, size: Size::B8 }
            }
            (Typed::Called { number, caller, .. }, _) => {
                laid.push(Column {
                    offset: offset as u16 + 8,
                    content: Content::Int { value: caller, size: Size::B8 },
                });
                Content::Int { value: number, size: Size::B8 }
            }
            (Typed::Int { int, .. }, ColumnKind::Called(_)) => {
                let none = Int::Constant(0);
                laid.push(Column { offset: offset as u16 + 8, content: Content::Int { value: none, size: Size::B8 } });
                Content::Int { value: int, size: Size::B8 }
            }
            (Typed::Int { int, .. }, _) => Content::Int { value: int, size: Size::B8 },
            (Typed::Text { text, .. }, ColumnKind::Text { size }) => Content::Text { text, size },
            (Typed::Bytes { bytes, size, .. }, _) => Content::Bytes { bytes, size },
            (Typed::Path { path: Walk::Now(path), size }, _) => Content::Path { path, size },
            (Typed::Path { path: Walk::Kept(offset), size }, _) => {
                Content::Bytes { bytes: Text::Event { offset, size }, size }
            }
            _ => return Err(Diagnostic::bug(format!("column `{}` changed its kind", column.name))),
        };
        laid.push(Column { offset: offset as u16, content });
    }
    if laid.is_empty() { Ok(None) } else { compile::columns(&laid, key).map(Some).map_err(too_large) }
}
