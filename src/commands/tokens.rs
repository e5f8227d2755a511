//! `tokens`: who may call the coordinator of this state folder over a network.

use orchestrator_proto::link::Role;
use serde_json::json;

use crate::{
    access::{Credentials, CredentialsError, none_here},
    cli::{Global, TokensCommand},
    exit::{Failure, Outcome},
    home::Home,
    output,
};

/// Shows or changes the tokens. A coordinator at work follows the file.
pub(super) fn tokens(global: &Global, command: &TokensCommand) -> Outcome {
    let path = Home::resolve(global.home.clone())?.credentials();
    let fail = |error: CredentialsError| Failure::request(error.to_string());
    let there = || Credentials::open(&path).map_err(fail)?.ok_or_else(|| Failure::request(none_here(&path)));
    match command {
        TokensCommand::List => list(global, &there()?),
        TokensCommand::Show { name } => {
            let credentials = there()?;
            let token = credentials.named(name).map_err(fail)?;
            print(global, name, &token.to_string())
        }
        TokensCommand::Authority => {
            let credentials = there()?;
            let certificate = credentials.certificate();
            if global.json {
                output::json(&json!({ "certificate": certificate }))
            } else {
                output::lines([certificate.trim_end().to_owned()])
            }
        }
        TokensCommand::New { role, name } => {
            let role = Role::from_name(role).ok_or_else(|| Failure::request(format!("there is no role `{role}`")))?;
            let token = Credentials::edit(&path, |credentials| credentials.add(role, name)).map_err(fail)?;
            print(global, name, &token.to_string())
        }
        TokensCommand::Revoke { name } => {
            Credentials::edit(&path, |credentials| credentials.revoke(name)).map_err(fail)?;
            if global.json {
                output::json(&json!({ "revoked": name }))
            } else {
                output::lines([format!("{name}: revoked")])
            }
        }
    }
}

fn list(global: &Global, credentials: &Credentials) -> Outcome {
    let tokens = credentials.tokens().map(|(entry, token)| (entry.name.clone(), token.role.name(), entry.made.clone()));
    if global.json {
        for (name, role, made) in tokens {
            output::json(&json!({ "name": name, "role": role, "made": made }))?;
        }
        return Ok(());
    }
    let rows = tokens.map(|(name, role, made)| vec![name, role.to_owned(), made]).collect();
    output::table(&["name", "role", "made"], rows)
}

fn print(global: &Global, name: &str, token: &str) -> Outcome {
    if global.json { output::json(&json!({ "name": name, "token": token })) } else { output::lines([token.to_owned()]) }
}
