//! The terminal, taken and given back: raw mode, the other screen, the cursor, pasting. Whatever
//! ends the program - return, error, panic, signal - gives it back. Together with `runner` the only
//! place that knows the terminal library.

use std::io::{self, BufWriter, Stdout, Write, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::execute;
use crossterm::style::force_color_output;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::app::App;
use super::views;

/// Whether the terminal is ours now: giving it back twice would leave the person's own screen.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The system's own, if standard output is no terminal that can be drawn on.
    pub(super) fn take() -> io::Result<Self> {
        // The library's own idea of NO_COLOR sends resets that undo reverse video; the theme leaves
        // colours out instead.
        force_color_output(true);
        give_back_on_panic();
        TAKEN.store(true, Ordering::SeqCst);
        let screen = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste))
            .and_then(|()| {
                // Whole frames in one write: no torn pictures over slow lines.
                let buffered = BufWriter::with_capacity(64 * 1024, stdout());
                Terminal::new(CrosstermBackend::new(buffered))
            })
            .and_then(|mut terminal| {
                terminal.hide_cursor()?;
                let mut screen = Self { terminal };
                screen.forget()?;
                Ok(screen)
            });
        if screen.is_err() {
            give_back();
        }
        screen
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws what changed since the last time.
    ///
    /// # Errors
    /// The system's own: the terminal is gone.
    pub(super) fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| views::draw(frame, app))?;
        Ok(())
    }

    /// Makes the next drawing draw everything.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal where its cursor is, and one that does not answer
        // would hold us up for seconds; taking on the same size once more clears without asking.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Asks the terminal to put text on the clipboard (OSC 52); one that cannot ignores it.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn copy(&mut self, text: &str) -> io::Result<()> {
        let backend = self.terminal.backend_mut();
        write!(backend, "\x1b]52;c;{}\x07", base64(text.as_bytes()))?;
        Write::flush(backend)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, if it is ours. Nothing can be done about failures here.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            stdout(),
            DisableBracketedPaste,
            LeaveAlternateScreen,
            crossterm::cursor::Show
        );
        let _ = disable_raw_mode();
    }
}

/// A panic's message has to be seen on the person's own screen, not on the one that goes away.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
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
    use super::base64;

    #[test]
    fn the_clipboard_gets_base64() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}
