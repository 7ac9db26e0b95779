//! The title of the detail pane: the image's name and the tabs, with as many of their names as there is room for,
//! and where each of them stands.

use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::panes::machine;
use crate::tui::text;
use crate::tui::views::frame;

/// A name shorter than this beside the tabs tells too little: it moves to the bottom of the frame.
const LEAST_NAME: usize = 16;

/// The title, piece by piece.
#[derive(Debug)]
pub(super) struct Title {
    /// What stands before the tabs.
    lead: String,
    /// Each tab as it is written.
    tabs: Vec<(Tab, String)>,
    /// The image's name, where the tabs left no room for it.
    pub(super) below: Option<String>,
}

impl Title {
    /// The title of a pane that shows `shown`, `width` cells wide with its corners. `beside` is whether the
    /// chain has a pane of its own, `focus` whether this one has the keyboard.
    #[must_use]
    pub(super) fn of(app: &App, width: usize, shown: Tab, beside: bool, focus: bool) -> Self {
        let ascii = app.settings.ascii;
        let dot = if ascii { "-" } else { "·" };
        let image = app.selected().map(|node| app.label(node));
        let name = image.or_else(|| machine::name_under_cursor(app));
        let name = name.or_else(|| Some(app.host_under_cursor()?.name.clone()));
        let name = name.unwrap_or_default();
        let room = width.saturating_sub(2);
        // What has a pane of its own is no tab of this one.
        let has_own = |of: Tab| beside && (shown == Tab::Chain) != (of == Tab::Chain);
        let mut tabs: Vec<_> = Tab::ALL
            .into_iter()
            .filter(|(of, ..)| !has_own(*of))
            .collect();
        let written = |tabs: &[(Tab, Action, &str)], with_names: bool| -> Vec<(Tab, String)> {
            let write = |(of, action, what): &(Tab, Action, &str)| {
                let key = tab_key(app, *action);
                let text = match (*of == shown, with_names) {
                    (true, _) => format!("[{key} {what}]"),
                    (false, true) => format!("{key} {what}"),
                    (false, false) => key,
                };
                (*of, text)
            };
            tabs.iter().map(write).collect()
        };
        // A space stands after every tab.
        let needed = |tabs: &[(Tab, String)]| {
            let texts = tabs.iter().map(|(_, text)| text::width(text) + 1);
            texts.sum::<usize>()
        };
        let lead = format!("{} ", frame::lead(app, focus));
        let least = text::width(&name).min(LEAST_NAME);
        let beside_name = |tabs: Vec<(Tab, String)>| {
            let room = room.saturating_sub(needed(&tabs) + 5);
            let name = text::cut_middle(&name, room, ascii);
            Self {
                lead: format!("{lead}{name} {dot} "),
                tabs,
                below: None,
            }
        };
        let mut named = written(&tabs, true);
        if needed(&named) + 5 + least > room && shown != Tab::Explain {
            // The names of the others tell more than one more key does.
            tabs.retain(|(of, ..)| *of != Tab::Explain);
            named = written(&tabs, true);
        }
        if needed(&named) + 5 + least <= room {
            beside_name(named)
        } else if needed(&named) + 2 <= room + 1 {
            Self {
                lead,
                tabs: named,
                below: Some(name),
            }
        } else {
            beside_name(written(&tabs, false))
        }
    }

    /// The whole title.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let tabs = self.tabs.iter().map(|(_, text)| format!("{text} "));
        format!("{}{}", self.lead, tabs.collect::<String>())
    }

    /// The tab at this cell of the frame's upper edge, counted from its corner.
    #[must_use]
    pub(super) fn tab_at(&self, cell: usize) -> Option<Tab> {
        let mut from = 1 + text::width(&self.lead);
        self.tabs.iter().find_map(|(tab, text)| {
            let cells = from..from + text::width(text);
            from = cells.end + 1;
            cells.contains(&cell).then_some(*tab)
        })
    }
}

/// The key that shows a tab: the last of its action's, which is the pane's number unless it was bound
/// anew.
fn tab_key(app: &App, action: Action) -> String {
    let entry = app.settings.keymap.entry(action);
    let key = entry.and_then(|entry| entry.keys.last());
    key.map(ToString::to_string).unwrap_or_default()
}
