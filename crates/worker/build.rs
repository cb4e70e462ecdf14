//! Links the small binaries statically, so that a hook starts in half the time.
//!
//! Most of a tiny process's life is the dynamic loader's. Cargo has no static link mode for one
//! binary of a package, so linker scripts in `OUT_DIR` shadow the shared libraries, for the named
//! binaries only; `sessiond` itself stays dynamic. Position independence (ASLR) is kept. Where the
//! static C library is missing only `libgcc_s` is shadowed, and on other targets nothing is done.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// The binaries to link so.
const SMALL_BINARIES: [&str; 2] = ["sessiond-hook", "sessiond-shim"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return Ok(());
    }
    let Some(driver) = link_driver() else {
        return Ok(());
    };
    if !has_file(&driver, "libgcc_eh.a") {
        return Ok(());
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let fully_static = ["libc.a", "libm.a", "rcrt1.o"]
        .iter()
        .all(|file| has_file(&driver, file));
    let scripts_dir = write_scripts(&out_dir, fully_static)?;
    for binary in SMALL_BINARIES {
        let search = scripts_dir.display();
        println!("cargo::rustc-link-arg-bin={binary}=-L{search}");
        if fully_static {
            println!("cargo::rustc-link-arg-bin={binary}=-static-pie");
        }
    }
    Ok(())
}

/// The scripts shadow `-lgcc_s`, `-lc` and `-lm`, which the standard library asks for by name. A
/// bare `-static-pie` links as well, but against shared libraries, and such a program crashes.
fn write_scripts(out_dir: &Path, fully_static: bool) -> io::Result<PathBuf> {
    let dir = out_dir.join("static-link");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
    let shadows = [
        ("libc.so", "GROUP(-l:libc.a -lgcc_eh -lgcc)\n"),
        ("libm.so", "INPUT(-l:libm.a)\n"),
    ];
    for (name, script) in shadows {
        let path = dir.join(name);
        if fully_static {
            fs::write(path, script)?;
        } else if path.exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(dir)
}

/// The program rustc links with, when it can be told: a cross build names its own.
fn link_driver() -> Option<String> {
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        return Some(linker);
    }
    (env::var("HOST") == env::var("TARGET")).then(|| "cc".to_owned())
}

/// Whether the driver finds this file in its library directories; it answers with the bare name
/// when it does not.
#[allow(
    clippy::disallowed_methods,
    reason = "a build script: the compiler driver ends by itself and leaves nobody behind"
)]
fn has_file(driver: &str, name: &str) -> bool {
    Command::new(driver)
        .arg(format!("-print-file-name={name}"))
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .is_some_and(|path| Path::new(path.trim()).is_absolute())
}
