#[expect(dead_code, reason = "the composition is laid in the next slice")]
mod config;

fn main() {}
