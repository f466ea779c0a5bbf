//! Small bodies that only the edge reads or writes: the demo's HTTP calls and the replies that say little but the balance.

use protocol::{Amount, Balance, Currency, GameId, JackpotId, Slug, Timestamp, frame::LimitView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
    )*};
}

shapes! {
    /// One demo player that may be logged in without a password.
    DemoPlayerView {
        player: Slug,
        name: String,
        currency: Currency,
    }
    DemoLogin { player: Slug, }
    /// The token for the first frame.
    DemoToken { token: String, }
    /// Launches a provider's game for a demo player.
    DemoLaunch { player: Slug, game: GameId, }
    /// The reply to a command that has nothing else to say.
    BalanceTold { balance: Balance, }
    LimitTold {
        effective_at: Timestamp,
        /// A relaxation waits until then and for a confirmation.
        pending: bool,
        balance: Balance,
    }
    LimitsTold { limits: Vec<LimitView>, }
    ExclusionTold {
        /// Absent: for ever.
        until: Option<Timestamp>,
        balance: Balance,
    }
    RoundChanged {
        round: String,
        game: GameId,
        /// `open`, `closed`, `voided`.
        status: String,
        version: u64,
    }
    JackpotWon { jackpot: JackpotId, amount: Amount, round: String, }
    /// A bonus or limit event, as its schema says.
    EventNotice { event: String, data: protocol::event::RawJson, }
}
