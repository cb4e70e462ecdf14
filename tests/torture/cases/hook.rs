//! A tree that fires the hook of the very install that runs it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use sessiond::wire::layout::Layout;

use super::{Case, Cost, Play, Stands};
use crate::check::living;
use crate::means::TreeCommand;
use crate::scene::{Played, Scene};

pub(super) const CASES: &[Case] = &[Case {
    name: "runs-the-hook",
    about: "fires its own install's hook, which must start and keep nothing",
    cost: Cost::Cheap,
    needs_no_kill: false,
    play: Play::Sessiond(play),
}];

const SCRIPT: &str = r#"
echo '{"hook_event_name":"UserPromptSubmit","session_id":"s","cwd":"/","prompt":"p"}' |
    "$HOOK" --agent claude-code || exit 1
echo ready
exec "$NASTY_CHILD" ignore-term --marker "$TORTURE_MARKER"
"#;

fn play<'a>(scene: &'a Scene<'a>) -> BoxFuture<'a, anyhow::Result<Played>> {
    async move {
        let home = scene.dir.join("home");
        let layout = Layout::at(home.clone());
        let mut private = fs::DirBuilder::new();
        private.mode(0o700).create(&home)?;
        let install = &scene.sessiond()?.settings.install;
        fs::write(layout.install_file(), format!("{install}\n"))?;
        let TreeCommand { mut env, .. } = scene.nasty(&[]);
        let hook = scene.programs.hook()?;
        for (name, value) in [
            ("PATH", "/usr/local/bin:/usr/bin:/bin".as_ref()),
            ("HOME", scene.dir),
            ("SESSIOND_HOME", &*home),
            ("HOOK", &*hook),
            ("NASTY_CHILD", scene.nasty_child),
        ] {
            env.push((name.to_owned(), value.to_string_lossy().into_owned()));
        }
        let command = TreeCommand {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), SCRIPT.to_owned()],
            env,
        };
        // The shell becomes `nasty-child`: whoever else is there came from the hook.
        let tree = scene.start(&command, Stands::Ready).await?;
        let others: Vec<_> = living(&scene.marker)
            .into_iter()
            .filter(|one| one.pid != tree.pid() && !one.command.contains("--grace-ms"))
            .collect();
        let played = scene.stop(tree).await?;
        ensure!(others.is_empty(), "the hook has started {others:?}");
        let files = fs::read_dir(&home).context("read the home")?;
        let expected = [layout.install_file(), layout.dropped_file()];
        let more: Vec<_> = files
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| !expected.contains(path))
            .collect();
        ensure!(more.is_empty(), "the hook has left {more:?}");
        Ok(played)
    }
    .boxed()
}
