//! What a recording is: for `skep replay --info`.
