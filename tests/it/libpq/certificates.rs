//! Servers with certificates of their own, judged by psql and by us.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use super::{FoundPort, agree};
use crate::support::postgres::{binaries, connect, start_server};
use crate::support::wait;
use meter_sync::embedded::Server;

/// A certificate and its key, both as PEM.
struct Identity {
    certificate: String,
    key: String,
}

fn parameters(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters
        .distinguished_name
        .push(DnType::CommonName, common_name);
    parameters
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = parameters(&[], name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, key()).expect("an authority")
}

fn issued(parameters: &CertificateParams, by: &CertifiedIssuer<'static, KeyPair>) -> Identity {
    let key = key();
    let certificate = parameters.signed_by(&key, by).expect("a certificate");
    Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

fn self_signed(parameters: &CertificateParams) -> Identity {
    let key = key();
    let certificate = parameters.self_signed(&key).expect("a certificate");
    Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

fn expired(mut parameters: CertificateParams) -> CertificateParams {
    parameters.not_before = date_time_ymd(2001, 1, 1);
    parameters.not_after = date_time_ymd(2002, 1, 1);
    parameters
}

/// A server that speaks TLS, and the files that clients name.
struct Site {
    server: Server,
    files: TempDir,
    binaries: meter_sync::embedded::PostgresBinaries,
}

impl Site {
    async fn start() -> Self {
        let binaries = binaries().await;
        Self {
            server: start_server(&binaries, "tls").await,
            files: TempDir::new().expect("a directory"),
            binaries,
        }
    }

    /// Writes a file for clients.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, text).expect("write it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("keep it secret");
        path
    }

    /// Writes a file for the server.
    fn file_of_server(&self, name: &str, text: &str) -> PathBuf {
        let data = self.server.directory().join("data");
        let path = data.join(name);
        fs::write(&path, text).expect("write it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("keep it secret");
        let owner = fs::metadata(&data).expect("the server's data");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("give it to the server");
        path
    }

    /// Has the server show this certificate from now on.
    async fn show(&self, name: &str, identity: &Identity) {
        let certificate = self.file_of_server(&format!("{name}.crt"), &identity.certificate);
        let key = self.file_of_server(&format!("{name}.key"), &identity.key);
        let of = |path: &Path| path.display().to_string();
        self.set(&[
            ("ssl_cert_file", &of(&certificate)),
            ("ssl_key_file", &of(&key)),
            ("ssl", "on"),
        ])
        .await;
    }

    async fn set(&self, settings: &[(&str, &str)]) {
        let admin = connect(&self.server.url("postgres")).await;
        for (setting, value) in settings {
            let set = format!("alter system set {setting} = '{value}'");
            admin.batch_execute(&set).await.expect("set it");
        }
        let reload = "select pg_reload_conf()";
        admin.batch_execute(reload).await.expect("reload");
        let (setting, value) = settings.last().expect("a setting");
        let first = settings.first().expect("a setting");
        let are_set = async || {
            let shown = connect(&self.server.url("postgres")).await;
            let asked = format!(
                "select current_setting('{setting}'), current_setting('{}')",
                first.0
            );
            let row = shown.query_one(&asked, &[]).await.expect("show them");
            row.get::<_, &str>(0) == *value && row.get::<_, &str>(1) == first.1
        };
        wait::until("the server has read its settings", are_set).await;
    }

    fn url(&self, more: &str) -> String {
        format!(
            "hostaddr=127.0.0.1 port={} dbname=postgres {more}",
            self.server.port()
        )
    }

    async fn agree(&self, more: &str) -> FoundPort {
        agree(&self.binaries, &self.url(more)).await
    }
}

const HOSTS_AND_MODES: [(&str, &str); 8] = [
    ("db.example", "disable"),
    ("db.example", "require"),
    ("db.example", "verify-ca"),
    ("db.example", "verify-full"),
    ("127.0.0.1", "disable"),
    ("127.0.0.1", "require"),
    ("127.0.0.1", "verify-ca"),
    ("127.0.0.1", "verify-full"),
];

#[tokio::test]
async fn a_servers_certificate_is_judged_as_psql_judges_it() {
    let site = Site::start().await;
    let (ours, another) = (authority("ours"), authority("another"));
    let names = ["db.example", "127.0.0.1"];
    let named = parameters(&names, "db.example");
    let alone = self_signed(&named);
    let late = self_signed(&expired(named.clone()));
    let root = site.file("root.crt", &ours.pem());
    let listed = site.file("alone.crt", &alone.certificate);
    let listed_late = site.file("late.crt", &late.certificate);
    let mut let_in = 0;
    for (name, identity, root) in [
        ("right", &issued(&named, &ours), &root),
        ("wrong_issuer", &issued(&named, &another), &root),
        ("expired", &issued(&expired(named.clone()), &ours), &root),
        (
            "wrong_name",
            &issued(&parameters(&["other.example"], "other.example"), &ours),
            &root,
        ),
        ("listed", &alone, &listed),
        ("listed_and_expired", &late, &listed_late),
        ("not_listed", &alone, &root),
    ] {
        site.show(name, identity).await;
        for (host, sslmode) in HOSTS_AND_MODES {
            println!("{name}");
            let root = root.display();
            let more = format!("host={host} user=postgres sslmode={sslmode} sslrootcert={root}");
            let_in += u32::from(site.agree(&more).await.is_ok());
        }
        let more = format!("host={} user=postgres sslmode=require", "db.example");
        assert!(
            site.agree(&more).await.is_ok(),
            "{name}: nothing is checked"
        );
    }
    // Each by clear text; the right and the listed one under all modes, the one of another name under those that do not ask.
    assert_eq!(let_in, 7 * 2 + 2 * 2 * 3 + 2 * 2);
}

/// A server that one role enters by a certificate and another by a password, the authority of both, and what names
/// the server to a client that verifies it.
async fn guarded() -> (Site, CertifiedIssuer<'static, KeyPair>, String) {
    let site = Site::start().await;
    let ours = authority("ours");
    let server = issued(&parameters(&["db.example"], "db.example"), &ours);
    site.show("server", &server).await;
    let ca = site.file_of_server("clients.crt", &ours.pem());
    let admin = connect(&site.server.url("postgres")).await;
    let roles = "create role by_certificate login; create role by_password login password 'word'";
    admin.batch_execute(roles).await.expect("create roles");
    let rules = site.server.directory().join("data/pg_hba.conf");
    let earlier = fs::read_to_string(&rules).expect("the rules");
    let added = "hostssl all by_certificate 127.0.0.1/32 cert\nhost all by_password 127.0.0.1/32 scram-sha-256\n";
    fs::write(&rules, format!("{added}{earlier}")).expect("write the rules");
    site.set(&[("ssl_ca_file", &ca.display().to_string())])
        .await;
    let root = site.file("root.crt", &ours.pem());
    let verified = format!(
        "host=db.example sslmode=verify-full sslrootcert={}",
        root.display()
    );
    (site, ours, verified)
}

#[tokio::test]
async fn a_client_shows_its_certificate_as_psql_does() {
    let (site, ours, verified) = guarded().await;
    let of = |name: &str, identity: &Identity| {
        let certificate = site.file(&format!("{name}.crt"), &identity.certificate);
        let key = site.file(&format!("{name}.key"), &identity.key);
        format!("sslcert={} sslkey={}", certificate.display(), key.display())
    };
    let client = parameters(&[], "by_certificate");
    for (identity, is_let_in) in [
        (of("right", &issued(&client, &ours)), true),
        (
            of("foreign", &issued(&client, &authority("another"))),
            false,
        ),
        (
            of("other", &issued(&parameters(&[], "somebody"), &ours)),
            false,
        ),
        (String::new(), false),
    ] {
        let more = format!("{verified} user=by_certificate {identity}");
        assert_eq!(site.agree(&more).await.is_ok(), is_let_in, "{identity}");
    }
}

#[tokio::test]
async fn a_password_is_bound_to_the_channel_as_psql_binds_it() {
    let (site, _, verified) = guarded().await;
    let clear = "host=db.example sslmode=disable".to_owned();
    for (channel, login, is_let_in) in [
        (
            &verified,
            "user=by_password password=word channel_binding=require",
            true,
        ),
        (
            &verified,
            "user=by_password password=word channel_binding=disable",
            true,
        ),
        (
            &verified,
            "user=by_password password=drow channel_binding=require",
            false,
        ),
        (
            &clear,
            "user=by_password password=word channel_binding=require",
            false,
        ),
        (
            &clear,
            "user=by_password password=word channel_binding=prefer",
            true,
        ),
        (&verified, "user=postgres channel_binding=require", false),
    ] {
        let found = site.agree(&format!("{channel} {login}")).await;
        assert_eq!(found.is_ok(), is_let_in, "{channel} {login}");
    }
}
