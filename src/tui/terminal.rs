//! The terminal, taken and given back: raw mode, the other screen, the cursor, pasting, the mouse, whether
//! somebody looks at it.
//! Whatever ends the program - return, error, panic, signal - gives it back. Together with `input` the only
//! place that knows the terminal library.

use std::io::{self, BufWriter, Stdout, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange,
};
use crossterm::execute;
use crossterm::style::force_color_output;
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use crate::host::printable;

use super::config::NoticeBy;
use super::msg::Notice;
use super::ui::Ui;
use super::views;

/// Whether the terminal is ours now: giving it back twice would leave the person's own screen.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    mouse: bool,
}

/// Presses and the wheel, in the form that knows no end of columns; not every move, which nobody
/// asked for.
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1000l";

/// What the runner does with a terminal.
pub(super) trait Surface {
    /// Draws what changed since the last time.
    ///
    /// # Errors
    /// The system's own: the terminal is gone.
    fn draw(&mut self, ui: &Ui) -> io::Result<()>;

    /// Columns and rows.
    ///
    /// # Errors
    /// The system's own.
    fn size(&self) -> io::Result<(u16, u16)>;

    /// Makes the next drawing draw everything.
    ///
    /// # Errors
    /// The system's own.
    fn forget(&mut self) -> io::Result<()>;

    /// Gives the terminal to somebody else for a while.
    fn lend(&self);

    /// Takes it again after [`Surface::lend`].
    ///
    /// # Errors
    /// The system's own: the terminal is gone.
    fn take_again(&mut self) -> io::Result<()>;

    /// Listens to the mouse, or leaves it to the terminal.
    ///
    /// # Errors
    /// The system's own.
    fn mouse(&mut self, is_on: bool) -> io::Result<()>;

    /// Asks the terminal to put text on the clipboard (OSC 52); one that cannot ignores it.
    ///
    /// # Errors
    /// The system's own.
    fn copy(&mut self, text: &str) -> io::Result<()>;

    /// Asks the terminal to tell somebody who looks elsewhere; one that cannot ignores it.
    ///
    /// # Errors
    /// The system's own.
    fn notify(&mut self, notice: &Notice) -> io::Result<()>;
}

impl Screen {
    /// Takes the terminal, and the mouse if that is wanted.
    ///
    /// # Errors
    /// The system's own, if standard output is no terminal that can be drawn on.
    pub(super) fn take(mouse: bool) -> io::Result<Self> {
        // The library's own idea of NO_COLOR sends resets that undo reverse video; the theme leaves
        // colours out instead.
        force_color_output(true);
        let screen = take_over(mouse)
            .and_then(|()| {
                // Whole frames in one write: no torn pictures over slow lines.
                let buffered = BufWriter::with_capacity(64 * 1024, stdout());
                Terminal::new(CrosstermBackend::new(buffered))
            })
            .and_then(|mut terminal| {
                terminal.hide_cursor()?;
                let mut screen = Self { terminal, mouse };
                screen.forget()?;
                Ok(screen)
            });
        if screen.is_err() {
            give_back();
        }
        screen
    }
}

impl Surface for Screen {
    fn lend(&self) {
        give_back();
    }

    fn take_again(&mut self) -> io::Result<()> {
        take_over(self.mouse)?;
        self.terminal.hide_cursor()?;
        self.forget()
    }

    fn mouse(&mut self, is_on: bool) -> io::Result<()> {
        self.mouse = is_on;
        let backend = self.terminal.backend_mut();
        backend.write_all(if is_on { MOUSE_ON } else { MOUSE_OFF }.as_bytes())?;
        Write::flush(backend)
    }

    fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    fn draw(&mut self, ui: &Ui) -> io::Result<()> {
        // Told that a frame begins and ends, a terminal shows it in one go.
        execute!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| views::draw(frame, ui))?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal where its cursor is, and one that does not answer
        // would hold us up for seconds; taking on the same size once more clears without asking.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    fn copy(&mut self, text: &str) -> io::Result<()> {
        let backend = self.terminal.backend_mut();
        write!(backend, "\x1b]52;c;{}\x07", base64(text.as_bytes()))?;
        Write::flush(backend)
    }

    fn notify(&mut self, notice: &Notice) -> io::Result<()> {
        let backend = self.terminal.backend_mut();
        backend.write_all(told(notice).as_bytes())?;
        Write::flush(backend)
    }
}

/// The sequence that tells it.
fn told(notice: &Notice) -> String {
    let text = printable(&notice.text);
    // A semicolon would end the title.
    let title = printable(&notice.title).replace(';', ",");
    match notice.by {
        NoticeBy::Osc777 => format!("\x1b]777;notify;{title};{text}\x1b\\"),
        NoticeBy::Osc9 => format!("\x1b]9;{title}: {text}\x1b\\"),
        NoticeBy::Bell => "\x07".to_owned(),
        NoticeBy::Off => String::new(),
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take_over(mouse: bool) -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(
        stdout(),
        EnterAlternateScreen,
        EnableBracketedPaste,
        EnableFocusChange
    )?;
    if mouse {
        stdout().write_all(MOUSE_ON.as_bytes())?;
        stdout().flush()?;
    }
    Ok(())
}

/// Gives the terminal back, if it is ours. Nothing can be done about failures here.
pub(super) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Whether the mouse was taken or not: not listening to it is what the person's screen had.
        let _ = stdout().write_all(MOUSE_OFF.as_bytes());
        let _ = execute!(
            stdout(),
            DisableFocusChange,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            crossterm::cursor::Show
        );
        let _ = disable_raw_mode();
    }
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = 0_u32;
        for i in 0..3 {
            word = word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0));
        }
        for i in 0..4 {
            let sign = usize::try_from(word >> (18 - 6 * i) & 63).unwrap_or(0);
            let sign = SIGNS.get(sign).copied().unwrap_or(b'A');
            out.push(if i <= chunk.len() {
                char::from(sign)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{base64, told};
    use crate::tui::config::NoticeBy;
    use crate::tui::msg::Notice;

    #[test]
    fn a_notice_is_one_sequence_whatever_is_in_it() {
        let notice = |by| Notice {
            by,
            title: "Flatten a;b\x1b]0;x\x07".to_owned(),
            text: "Did it; \x1b[31mred\n".to_owned(),
        };
        let sent = told(&notice(NoticeBy::Osc777));
        assert!(sent.starts_with("\x1b]777;notify;Flatten a,b"), "{sent:?}");
        assert!(sent.ends_with("\x1b\\"));
        for sent in [sent, told(&notice(NoticeBy::Osc9))] {
            let inside = &sent[1..sent.len() - 2];
            assert!(!inside.chars().any(char::is_control), "{sent:?}");
        }
        assert_eq!(told(&notice(NoticeBy::Bell)), "\x07");
    }

    #[test]
    fn the_clipboard_gets_base64() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}
