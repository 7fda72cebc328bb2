//! Operators of unsigned values: exact with signed numbers in both orders; what fits no type becomes the nearest float.

use super::host::{Fallible, raise};
use super::values::{Unsigned, number};
use crate::diagnostic::Diagnostic;
use rhai::{Dynamic, Engine, FLOAT, INT, NativeCallContext};

pub fn register(engine: &mut Engine) {
    let show = |value: &mut Unsigned| format!("0x{:x}", value.0);
    engine.register_fn("to_string", show).register_fn("to_debug", show);
    engine.register_fn("to_float", |value: Unsigned| value.0 as FLOAT);
    engine.register_fn("to_decimal", |value: Unsigned| value.0.to_string());
    engine.register_fn("to_int", |context: NativeCallContext, value: Unsigned| -> Fallible<INT> {
        match INT::try_from(value.0) {
            Ok(int) => Ok(int),
            Err(_) => raise(
                Diagnostic::script(format!("{} does not fit a signed number", value.0)).help(".to_float()"),
                context.call_position(),
            ),
        }
    });
    // Exact in both orders: everything fits 128 bits.
    macro_rules! compare {
        ($($symbol:literal $operator:tt)*) => { $(
            engine.register_fn($symbol, |a: Unsigned, b: Unsigned| a.0 $operator b.0);
            engine.register_fn($symbol, |a: Unsigned, b: INT| i128::from(a.0) $operator i128::from(b));
            engine.register_fn($symbol, |a: INT, b: Unsigned| i128::from(a) $operator i128::from(b.0));
        )* };
    }
    compare!("==" == "!=" != "<" < "<=" <= ">" > ">=" >=);
    macro_rules! compute {
        ($($symbol:literal $method:ident)*) => { $(
            engine.register_fn($symbol, |a: Unsigned, b: Unsigned| number(i128::from(a.0).$method(i128::from(b.0))));
            engine.register_fn($symbol, |a: Unsigned, b: INT| number(i128::from(a.0).$method(i128::from(b))));
            engine.register_fn($symbol, |a: INT, b: Unsigned| number(i128::from(a).$method(i128::from(b.0))));
        )* };
    }
    compute!("+" saturating_add "-" saturating_sub "*" saturating_mul);
    for (symbol, divide) in [("/", i128::checked_div as fn(i128, i128) -> Option<i128>), ("%", i128::checked_rem)] {
        let apply = move |context: &NativeCallContext, a: i128, b: i128| match divide(a, b) {
            Some(value) => Ok(number(value)),
            None => raise(Diagnostic::script("division by zero"), context.call_position()),
        };
        engine.register_fn(symbol, move |context: NativeCallContext, a: Unsigned, b: Unsigned| -> Fallible<Dynamic> {
            apply(&context, a.0.into(), b.0.into())
        });
        engine.register_fn(symbol, move |context: NativeCallContext, a: Unsigned, b: INT| -> Fallible<Dynamic> {
            apply(&context, a.0.into(), b.into())
        });
    }
}
