#include "net/tls_stream.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

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

// Peers that speak no HTTP/2 are refused in the handshake.
int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size, const unsigned char* offered,
                   unsigned offered_size, void*) {
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  unsigned char* out = nullptr;
  if (SSL_select_next_proto(&out, chosen_size, kH2, sizeof kH2, offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
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

}  // namespace

struct TlsContext::State {
  ContextPtr context;
};

struct TlsStream::State {
  std::unique_ptr<SSL, Freed<SSL, SSL_free>> ssl;
  BIO* from_peer = nullptr;  // the SSL's
  BIO* to_peer = nullptr;
};

TlsContext::TlsContext(std::shared_ptr<State> state) : state_(std::move(state)) {}
TlsContext::TlsContext(TlsContext&&) noexcept = default;
TlsContext& TlsContext::operator=(TlsContext&&) noexcept = default;
TlsContext::~TlsContext() = default;

Result<TlsContext> TlsContext::Make(const Options& options) {
  auto state = std::make_shared<State>();
  state->context.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* context = state->context.get();
  SLUICE_CHECK(context != nullptr, "out of memory");
  SSL_CTX_set_min_proto_version(context, options.version_min == Version::k13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, ChooseProtocol, nullptr);
  if (const Status used = UseCipherSuites(context, options.cipher_suites); !used) return tl::unexpected(used.error());
  if (options.certificate_path.empty()) {
    if (!UseSelfSigned(context)) return Fail(Code::kInternal, "cannot make a certificate: " + OpenSslError());
    return TlsContext(std::move(state));
  }
  if (SSL_CTX_use_certificate_chain_file(context, options.certificate_path.c_str()) != 1) {
    return Fail(Code::kInvalidArgument,
                "no certificate can be read from " + options.certificate_path + ": " + OpenSslError());
  }
  if (SSL_CTX_use_PrivateKey_file(context, options.key_path.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Fail(Code::kInvalidArgument,
                options.key_path + " is no key for " + options.certificate_path + ": " + OpenSslError());
  }
  return TlsContext(std::move(state));
}

TlsStream::TlsStream(const TlsContext& context) : state_(std::make_unique<State>()) {
  state_->ssl.reset(SSL_new(context.state_->context.get()));
  state_->from_peer = BIO_new(BIO_s_mem());
  state_->to_peer = BIO_new(BIO_s_mem());
  SLUICE_CHECK(state_->ssl != nullptr && state_->from_peer != nullptr && state_->to_peer != nullptr, "out of memory");
  SSL_set_bio(state_->ssl.get(), state_->from_peer, state_->to_peer);
  SSL_set_accept_state(state_->ssl.get());
}

TlsStream::~TlsStream() = default;

bool TlsStream::Receive(std::string_view encrypted, std::string& plain) {
  SSL* ssl = state_->ssl.get();
  ERR_clear_error();
  BIO_write(state_->from_peer, encrypted.data(), static_cast<int>(encrypted.size()));
  if (!ready()) {
    const int done = SSL_do_handshake(ssl);
    if (done != 1) return SSL_get_error(ssl, done) == SSL_ERROR_WANT_READ;
    // A client that named no protocol at all did not go through ChooseProtocol.
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &chosen, &size);
    if (size == 0) return false;
  }
  std::array<char, 16 * 1024> buffer;
  for (;;) {
    const int read = SSL_read(ssl, buffer.data(), static_cast<int>(buffer.size()));
    if (read <= 0) return SSL_get_error(ssl, read) == SSL_ERROR_WANT_READ;
    plain.append(buffer.data(), static_cast<size_t>(read));
  }
}

bool TlsStream::ready() const { return SSL_is_init_finished(state_->ssl.get()) == 1; }

bool TlsStream::Send(std::string_view plain, std::string& encrypted) {
  bool taken = true;
  if (!plain.empty()) {
    ERR_clear_error();
    taken = SSL_write(state_->ssl.get(), plain.data(), static_cast<int>(plain.size())) > 0;
  }
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(state_->to_peer, &bytes);
  if (size > 0) encrypted.append(bytes, static_cast<size_t>(size));
  (void)BIO_reset(state_->to_peer);
  return taken;
}

}  // namespace sluice::net
