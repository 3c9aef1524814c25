#include "net/tls_stream.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "base/check.h"
#include "base/text.h"

namespace sluice::net {
namespace {

constexpr long kSelfSignedSeconds = 10L * 365 * 24 * 3600;

template <class T, void (*kFree)(T*)>
struct Freed {
  void operator()(T* object) const { kFree(object); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, Freed<SSL_CTX, SSL_CTX_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freed<X509, X509_free>>;

std::string OpenSslError() {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  ERR_clear_error();
  return text;
}

const unsigned char* Bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

// ALPN's list: each name behind its length.
std::string ProtocolList(const std::vector<std::string>& protocols) {
  std::string list;
  for (const std::string& protocol : protocols) list.append(1, static_cast<char>(protocol.size())).append(protocol);
  return list;
}

// Peers that speak none of ours are refused in the handshake.
int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size, const unsigned char* offered,
                   unsigned offered_size, void* ours) {
  const std::string& list = *static_cast<const std::string*>(ours);
  unsigned char* out = nullptr;
  if (SSL_select_next_proto(&out, chosen_size, Bytes(list), static_cast<unsigned>(list.size()), offered,
                            offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = out;
  return SSL_TLSEXT_ERR_OK;
}

// OpenSSL keeps the suites of TLS 1.3 apart from the others, and has its own names for the latter.
Status UseCipherSuites(SSL_CTX* context, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return {};
  std::string older, newer;
  std::vector<std::string> known;
  const STACK_OF(SSL_CIPHER)* all = SSL_CTX_get_ciphers(context);
  for (int i = 0; i < sk_SSL_CIPHER_num(all); ++i)
    known.emplace_back(SSL_CIPHER_standard_name(sk_SSL_CIPHER_value(all, i)));
  for (const std::string& name : wanted) {
    const auto found = std::find(known.begin(), known.end(), name);
    if (found == known.end()) {
      return Fail(Code::kInvalidArgument, "there is no TLS cipher suite '" + name + "'" + DidYouMean(name, known));
    }
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(all, static_cast<int>(found - known.begin()));
    std::string& list = std::string_view(SSL_CIPHER_get_version(cipher)) == "TLSv1.3" ? newer : older;
    list += (list.empty() ? "" : ":") + std::string(SSL_CIPHER_get_name(cipher));
  }
  // An empty list of the newer ones turns TLS 1.3 off; an empty one of the older ones is no list to OpenSSL.
  const bool set = SSL_CTX_set_ciphersuites(context, newer.c_str()) == 1 &&
                   (!older.empty() ? SSL_CTX_set_cipher_list(context, older.c_str()) == 1
                                   : SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1);
  return set ? Status{} : Status(Fail(Code::kInternal, "cannot use these cipher suites: " + OpenSslError()));
}

// A certificate that says nothing but its key: whoever talks to a picker without a certificate does not check one.
bool UseSelfSigned(SSL_CTX* context) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const CertificatePtr certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return false;
  X509* x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), 0);
  X509_gmtime_adj(X509_getm_notAfter(x), kSelfSignedSeconds);
  X509_set_pubkey(x, key.get());
  X509_NAME* name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("sluice epp"), -1, -1, 0);
  X509_set_issuer_name(x, name);
  return X509_sign(x, key.get(), EVP_sha256()) != 0 && SSL_CTX_use_certificate(context, x) == 1 &&
         SSL_CTX_use_PrivateKey(context, key.get()) == 1;
}

// What an SSL reads from and writes to; the data of its BIO.
struct Pipe {
  std::string_view in;
  std::string* out = nullptr;
};

int PipeRead(BIO* bio, char* out, int size) {
  Pipe& pipe = *static_cast<Pipe*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (pipe.in.empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  // The bytes may lie behind those that are decrypted into the same buffer, but `out` is OpenSSL's own.
  const size_t n = pipe.in.copy(out, static_cast<size_t>(size));
  pipe.in.remove_prefix(n);
  return static_cast<int>(n);
}

int PipeWrite(BIO* bio, const char* bytes, int size) {
  static_cast<Pipe*>(BIO_get_data(bio))->out->append(bytes, static_cast<size_t>(size));
  return size;
}

long PipeControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int PipeCreate(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

const BIO_METHOD* PipeMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice");
    SLUICE_CHECK(made != nullptr, "out of memory");
    BIO_meth_set_create(made, PipeCreate);
    BIO_meth_set_read(made, PipeRead);
    BIO_meth_set_write(made, PipeWrite);
    BIO_meth_set_ctrl(made, PipeControl);
    return made;
  }();
  return method;
}

// What both sides' contexts have in common.
ContextPtr NewContext(const SSL_METHOD* method, TlsContext::Version version_min) {
  ContextPtr context(SSL_CTX_new(method));
  SLUICE_CHECK(context != nullptr, "out of memory");
  SSL_CTX_set_min_proto_version(context.get(),
                                version_min == TlsContext::Version::k13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  return context;
}

Status UseCertificate(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return Fail(Code::kInvalidArgument, "no certificate can be read from " + certificate + ": " + OpenSslError());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Fail(Code::kInvalidArgument, key + " is no key for " + certificate + ": " + OpenSslError());
  }
  return {};
}

Status TrustFile(SSL_CTX* context, const std::string& path) {
  if (SSL_CTX_load_verify_file(context, path.c_str()) == 1) return {};
  return Fail(Code::kInvalidArgument,
              "no certificates of authorities can be read from " + path + ": " + OpenSslError());
}

// A client that asks for no name, or for one that nobody has, gets the first certificate.
int ChooseCertificate(SSL* ssl, int*, void* others) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_NOACK;
  for (const ContextPtr& other : *static_cast<const std::vector<ContextPtr>*>(others)) {
    if (X509_check_host(SSL_CTX_get0_certificate(other.get()), name, 0, 0, nullptr) != 1) continue;
    SSL_set_SSL_CTX(ssl, other.get());
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_OK;
}

// A server's, but for its certificate.
Result<ContextPtr> NewServerContext(const TlsContext::Options& options, std::string* protocols) {
  ContextPtr made = NewContext(TLS_server_method(), options.version_min);
  SSL_CTX* context = made.get();
  if (options.keep_buffers) SSL_CTX_clear_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, ChooseProtocol, protocols);
  if (const Status used = UseCipherSuites(context, options.cipher_suites); !used) return tl::unexpected(used.error());
  if (options.client_ca_path.empty()) return made;
  if (const Status read = TrustFile(context, options.client_ca_path); !read) return tl::unexpected(read.error());
  SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options.client_ca_path.c_str()));
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  // Without it, a session that is resumed would ask nobody for a certificate's issuer again.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(context, 0);
  return made;
}

bool IsIp(const std::string& name) {
  return name.find(':') != std::string::npos || name.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace

struct TlsContext::State {
  ContextPtr context;
  std::vector<ContextPtr> others;  // of a server, by the name that a client asks for
  std::string protocols;           // ProtocolList
  bool client = false;
  bool verify = false;  // of a client
};

struct TlsStream::State {
  std::shared_ptr<TlsContext::State> context;  // its protocols are asked during the handshake
  Pipe pipe;
  std::string to_peer;  // what TLS itself has to say, until the next Send
  std::string joined;   // parts that go into one record
  std::string error;
  std::unique_ptr<SSL, Freed<SSL, SSL_free>> ssl;

  // After a call that did not succeed. False: it will not with more bytes either.
  bool MayGoOn(int result, const char* doing) {
    const int why = SSL_get_error(ssl.get(), result);
    if (why == SSL_ERROR_WANT_READ) return true;
    if (!error.empty()) return false;
    const long verified = SSL_get_verify_result(ssl.get());
    if (why == SSL_ERROR_ZERO_RETURN) {
      error = "the peer ended the connection";
    } else if (context->client && verified != X509_V_OK) {
      error = std::string("the certificate is not believed: ") + X509_verify_cert_error_string(verified);
    } else {
      error = std::string(doing) + ": " + OpenSslError();
    }
    return false;
  }
};

TlsContext::TlsContext(std::shared_ptr<State> state) : state_(std::move(state)) {}
TlsContext::TlsContext(TlsContext&&) noexcept = default;
TlsContext& TlsContext::operator=(TlsContext&&) noexcept = default;
TlsContext::~TlsContext() = default;

Result<TlsContext> TlsContext::Make(const Options& options) {
  auto state = std::make_shared<State>();
  state->protocols = ProtocolList(options.protocols);
  auto first = NewServerContext(options, &state->protocols);
  if (!first) return tl::unexpected(first.error());
  state->context = std::move(*first);
  SSL_CTX* context = state->context.get();
  if (options.certificate_path.empty()) {
    if (!UseSelfSigned(context)) return Fail(Code::kInternal, "cannot make a certificate: " + OpenSslError());
    return TlsContext(std::move(state));
  }
  const Status used = UseCertificate(context, options.certificate_path, options.key_path);
  if (!used) return tl::unexpected(used.error());
  for (const Pair& pair : options.others) {
    auto other = NewServerContext(options, &state->protocols);
    if (!other) return tl::unexpected(other.error());
    const Status read = UseCertificate(other->get(), pair.certificate_path, pair.key_path);
    if (!read) return tl::unexpected(read.error());
    state->others.push_back(std::move(*other));
  }
  SSL_CTX_set_tlsext_servername_callback(context, ChooseCertificate);
  SSL_CTX_set_tlsext_servername_arg(context, &state->others);
  return TlsContext(std::move(state));
}

Result<TlsContext> TlsContext::MakeClient(const ClientOptions& options) {
  auto state = std::make_shared<State>();
  state->client = true;
  state->verify = options.verify;
  state->protocols = ProtocolList(options.protocols);
  state->context = NewContext(TLS_client_method(), Version::k12);
  SSL_CTX* context = state->context.get();
  SSL_CTX_set_alpn_protos(context, Bytes(state->protocols), static_cast<unsigned>(state->protocols.size()));
  if (!options.certificate_path.empty()) {
    const Status used = UseCertificate(context, options.certificate_path, options.key_path);
    if (!used) return tl::unexpected(used.error());
  }
  if (!options.verify) return TlsContext(std::move(state));
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (options.ca_path.empty()) {
    SSL_CTX_set_default_verify_paths(context);
  } else if (const Status read = TrustFile(context, options.ca_path); !read) {
    return tl::unexpected(read.error());
  }
  return TlsContext(std::move(state));
}

TlsStream::TlsStream(const TlsContext& context, const std::string& peer_name) : state_(std::make_unique<State>()) {
  state_->context = context.state_;
  state_->ssl.reset(SSL_new(context.state_->context.get()));
  BIO* bio = BIO_new(PipeMethod());
  SSL* ssl = state_->ssl.get();
  SLUICE_CHECK(ssl != nullptr && bio != nullptr, "out of memory");
  BIO_set_data(bio, &state_->pipe);
  SSL_set_bio(ssl, bio, bio);
  if (!context.state_->client) {
    SSL_set_accept_state(ssl);
    return;
  }
  SSL_set_connect_state(ssl);
  if (!IsIp(peer_name)) SSL_set_tlsext_host_name(ssl, peer_name.c_str());
  if (!context.state_->verify) return;
  X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl);
  if (IsIp(peer_name)) {
    X509_VERIFY_PARAM_set1_ip_asc(wanted, peer_name.c_str());
  } else {
    X509_VERIFY_PARAM_set1_host(wanted, peer_name.c_str(), peer_name.size());
  }
}

TlsStream::~TlsStream() = default;

bool TlsStream::Handshake() {
  State& s = *state_;
  ERR_clear_error();
  const int done = SSL_do_handshake(s.ssl.get());
  return done == 1 || s.MayGoOn(done, "the handshake failed");
}

bool TlsStream::Receive(std::string_view encrypted, std::span<char> plain, size_t& bytes) {
  State& s = *state_;
  bytes = 0;
  s.pipe = {.in = encrypted, .out = &s.to_peer};
  if (!ready() && !Handshake()) return false;
  if (!ready()) return true;
  ERR_clear_error();  // a read that succeeds leaves none
  for (;;) {
    SLUICE_CHECK(bytes < plain.size(), "a place for what was received");
    const int read = SSL_read(s.ssl.get(), plain.data() + bytes, static_cast<int>(plain.size() - bytes));
    if (read <= 0) return s.MayGoOn(read, "what was received cannot be read");
    bytes += static_cast<size_t>(read);
  }
}

bool TlsStream::ready() const { return SSL_is_init_finished(state_->ssl.get()) == 1; }

std::string_view TlsStream::protocol() const {
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(state_->ssl.get(), &chosen, &size);
  return {reinterpret_cast<const char*>(chosen), size};
}

bool TlsStream::Send(std::span<const std::string_view> parts, std::string& encrypted) {
  State& s = *state_;
  encrypted += s.to_peer;
  s.to_peer.clear();
  s.pipe = {.in = {}, .out = &encrypted};
  if (!ready()) return s.error.empty() && (!s.context->client || Handshake());
  std::string_view plain = parts.empty() ? std::string_view() : parts.front();
  if (parts.size() > 1) {
    s.joined.clear();
    for (const std::string_view part : parts) s.joined += part;
    plain = s.joined;
  }
  if (plain.empty()) return true;
  ERR_clear_error();
  const int written = SSL_write(s.ssl.get(), plain.data(), static_cast<int>(plain.size()));
  if (s.joined.capacity() > 32 * 1024) s.joined = {};
  return written > 0 || s.MayGoOn(written, "what is to be sent cannot be encrypted");
}

void TlsStream::End(std::string& encrypted) {
  State& s = *state_;
  s.pipe = {.in = {}, .out = &encrypted};
  if (ready() && s.error.empty()) SSL_shutdown(s.ssl.get());
}

const std::string& TlsStream::error() const { return state_->error; }

}  // namespace sluice::net
