#[expect(dead_code, reason = "the composition is laid in the next slice")]
mod config;
#[cfg_attr(not(test), expect(dead_code, reason = "the composition is laid in the next slice"))]
mod contracts;

fn main() {}
