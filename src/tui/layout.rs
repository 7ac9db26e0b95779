//! Where everything is on the screen, computed from the size and from what is open. Nothing is
//! drawn here.

use ratatui::layout::Rect;

use super::app::App;
use super::dialogs::Keyboard;
use super::status_line;
use super::tour_strip;
use super::ui::Ui;

/// Which panes have a place, and where: it goes by the size of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Panes {
    /// One polite line.
    None,
    /// The images, and nothing else.
    ImagesOnly,
    /// Images above, detail below.
    Stacked,
    /// Images left, detail right.
    SideBySide,
    /// Images, detail and chain side by side, the jobs always below.
    Columns,
}

/// Where everything is. Areas without a place are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Which panes have a place.
    pub panes: Panes,
    /// The bar at the top.
    pub header: Rect,
    /// The task of the tour, below it.
    pub tour: Rect,
    /// The images, with their frame.
    pub images: Rect,
    /// The detail, with its frame.
    pub detail: Rect,
    /// The chain beside the detail.
    pub chain: Rect,
    /// The jobs.
    pub jobs: Rect,
    /// The dialog.
    pub dialog: Rect,
    /// The filter line, or what happened last.
    pub line: Rect,
    /// The bar at the bottom.
    pub footer: Rect,
}

/// From so many columns on, the detail beside the images has room for the names of all its tabs.
const BESIDE: u16 = 118;

/// Fewer columns or rows than this, and nothing can be shown.
pub(crate) const LEAST: (u16, u16) = (40, 8);

/// Where everything is now.
#[must_use]
pub(crate) fn of(ui: &Ui) -> Layout {
    let app = &ui.app;
    let (width, height) = app.size;
    let whole = Rect::new(0, 0, width, height);
    let panes = match (width, height) {
        (w, h) if w < LEAST.0 || h < LEAST.1 => Panes::None,
        (w, h) if w < 60 || h < 12 => Panes::ImagesOnly,
        (w, h) if w >= 180 && h >= 40 => Panes::Columns,
        (w, h) if w >= BESIDE && h >= 16 => Panes::SideBySide,
        _ => Panes::Stacked,
    };
    let mut layout = Layout {
        panes,
        header: Rect::ZERO,
        tour: Rect::ZERO,
        images: Rect::ZERO,
        detail: Rect::ZERO,
        chain: Rect::ZERO,
        jobs: Rect::ZERO,
        dialog: Rect::ZERO,
        line: Rect::ZERO,
        footer: Rect::ZERO,
    };
    if panes == Panes::None {
        return layout;
    }
    let mut rest = whole;
    if panes != Panes::ImagesOnly {
        layout.header = take_top(&mut rest, 1);
        let tour = tour_strip::lines(app, strip_width(width)).len();
        layout.tour = take_top(&mut rest, u16::try_from(tour).unwrap_or(0).min(4));
        layout.footer = take_bottom(&mut rest, 1);
    }
    layout.line = take_bottom(&mut rest, line_height(ui, width));
    let needed = needed_height(ui, dialog_width(width));
    if let Some(needed) = needed {
        let most = if panes == Panes::ImagesOnly {
            rest.height
        } else {
            // The rows above show what the plan would do to them: some have to be seen.
            rest.height
                .saturating_sub(rest.height / 3)
                .max(rest.height.saturating_sub(12))
        };
        let mut area = take_bottom(&mut rest, needed.min(most));
        let width = dialog_width(width);
        area.x += (area.width - width) / 2;
        area.width = width;
        layout.dialog = area;
    }
    if panes == Panes::ImagesOnly {
        layout.images = rest;
        return layout;
    }
    layout.jobs = take_bottom(&mut rest, jobs_height(ui, panes));
    place_panes(app, &mut layout, rest);
    layout
}

impl Layout {
    /// Rows of images that are seen at once.
    #[must_use]
    pub(crate) fn rows(&self) -> u16 {
        self.images.height.saturating_sub(2)
    }

    /// Columns and rows the diagram has.
    #[must_use]
    pub(crate) fn diagram(&self) -> (u16, u16) {
        (self.images.width.saturating_sub(2), self.rows())
    }
}

/// Images, detail and chain in what is left.
fn place_panes(app: &App, layout: &mut Layout, rest: Rect) {
    let share = |base: i16| -> u32 {
        u32::try_from(base.saturating_add(app.split).clamp(20, 85)).unwrap_or(50)
    };
    let part = |whole: u16, percent: u32| -> u16 {
        u16::try_from(u32::from(whole) * percent / 100).unwrap_or(whole)
    };
    layout.images = rest;
    if app.detail.hidden {
        return;
    }
    match layout.panes {
        Panes::Columns => {
            layout.images.width = part(rest.width, share(42));
            let right = rest.width - layout.images.width;
            let detail = part(right, 56);
            layout.detail = Rect {
                x: rest.x + layout.images.width,
                width: detail,
                ..rest
            };
            layout.chain = Rect {
                x: layout.detail.x + detail,
                width: right - detail,
                ..rest
            };
        }
        Panes::SideBySide => {
            layout.images.width = part(rest.width, share(55));
            layout.detail = Rect {
                x: rest.x + layout.images.width,
                width: rest.width - layout.images.width,
                ..rest
            };
        }
        Panes::Stacked if rest.height >= 14 => {
            layout.images.height = part(rest.height, share(66));
            layout.detail = Rect {
                y: rest.y + layout.images.height,
                height: rest.height - layout.images.height,
                ..rest
            };
        }
        Panes::Stacked | Panes::ImagesOnly | Panes::None => {}
    }
}

/// Rows a dialog would like to have with its frame at that width, in the lower part of the screen; none if
/// none is open there.
fn needed_height(ui: &Ui, width: u16) -> Option<u16> {
    let inner = usize::from(width.saturating_sub(2));
    let lines = ui.dialogs.top()?.window().height(&ui.app, inner)?;
    u16::try_from(lines + 2).ok().or(Some(u16::MAX))
}

/// Where the open dialog is drawn: in the lower part, or over the panes. Empty where none is.
#[must_use]
pub(crate) fn of_dialog(ui: &Ui, layout: &Layout) -> Rect {
    let Some(open) = ui.dialogs.top() else {
        return Rect::ZERO;
    };
    match ui.dialogs.keyboard() {
        Keyboard::Panes | Keyboard::FilterLine | Keyboard::Jobs => Rect::ZERO,
        Keyboard::Dialog if !layout.dialog.is_empty() => layout.dialog,
        Keyboard::Dialog => match open.window().height(&ui.app, 80) {
            Some(_) => Rect::ZERO,
            None => {
                let (width, height) = ui.app.size;
                // A message about a list is not hidden by it.
                let height = match layout.line.is_empty() {
                    true => height,
                    false => layout.line.y,
                };
                overlay((width, height), open.window().most_lines())
            }
        },
    }
}

/// Where lists are shown: in the middle, over the panes, and no taller than so many lines need.
#[must_use]
pub(crate) fn overlay((width, height): (u16, u16), most_lines: Option<usize>) -> Rect {
    let whole = Rect::new(0, 0, width, height);
    if width < 60 || height < 12 {
        return whole;
    }
    let width_used = width.saturating_sub(4).min(100);
    let mut height_used = height.saturating_sub(2).min(40);
    if let Some(lines) = most_lines {
        let lines = u16::try_from(lines).unwrap_or(u16::MAX);
        height_used = height_used.min(lines.saturating_add(2));
    }
    Rect::new(
        (width - width_used) / 2,
        (height - height_used) / 2,
        width_used,
        height_used,
    )
}

fn dialog_width(width: u16) -> u16 {
    width.min(104)
}

/// Rows of the jobs pane.
fn jobs_height(ui: &Ui, panes: Panes) -> u16 {
    let app = &ui.app;
    let has_focus = ui.dialogs.keyboard() == Keyboard::Jobs;
    let open = u16::try_from(app.jobs.open().count()).unwrap_or(u16::MAX);
    let all = u16::try_from(app.jobs.list.len()).unwrap_or(u16::MAX);
    match panes {
        Panes::Columns => 10,
        _ if has_focus => all.clamp(1, 6) + 2,
        _ if open == 0 => 0,
        Panes::Stacked => 1,
        _ => open.min(2) + 2,
    }
}

/// Columns for the words of the tour's strip.
pub(crate) fn strip_width(width: u16) -> usize {
    usize::from(width.saturating_sub(2))
}

/// Rows of the line above the footer.
fn line_height(ui: &Ui, width: u16) -> u16 {
    let lines = match ui.dialogs.keyboard() {
        Keyboard::FilterLine => status_line::complaint(&ui.app, width).len() + 1,
        _ => status_line::toast(&ui.app, width).len(),
    };
    u16::try_from(lines).unwrap_or(u16::MAX)
}

fn take_top(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    let taken = Rect { height, ..*rest };
    rest.y += height;
    rest.height -= height;
    taken
}

fn take_bottom(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    rest.height -= height;
    Rect {
        y: rest.y + rest.height,
        height,
        ..*rest
    }
}
