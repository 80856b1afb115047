# What a program does with AWS KMS by the SDK for Ruby.

require 'aws-sdk-kms'

def check(is_so, otherwise)
  raise otherwise unless is_so
end

kms = Aws::KMS::Client.new(endpoint: ARGV[0])

key = kms.create_key.key_metadata
context = { 'host' => 'web1' }
made = kms.encrypt(key_id: key.key_id, plaintext: 'secret', encryption_context: context)
opened = kms.decrypt(ciphertext_blob: made.ciphertext_blob, encryption_context: context)
check(opened.plaintext == 'secret' && opened.key_id == key.arn, 'another plaintext')
begin
  kms.decrypt(ciphertext_blob: made.ciphertext_blob)
  raise 'a ciphertext opened without its encryption context'
rescue Aws::KMS::Errors::InvalidCiphertextException => refusal
  check(refusal.context.http_response.status_code == 400, 'not as AWS answers')
end

kms.create_alias(alias_name: 'alias/ruby', target_key_id: key.key_id)
data_key = kms.generate_data_key(key_id: 'alias/ruby', key_spec: 'AES_256', encryption_context: context)
again = kms.decrypt(ciphertext_blob: data_key.ciphertext_blob, encryption_context: context)
check(again.plaintext == data_key.plaintext && again.plaintext.bytesize == 32, 'another data key')

kms.enable_key_rotation(key_id: key.key_id)
check(kms.get_key_rotation_status(key_id: key.key_id).key_rotation_enabled, 'it is not rotated')

other = kms.create_key(tags: [{ tag_key: 'made', tag_value: 'by ruby' }]).key_metadata
check(kms.list_resource_tags(key_id: other.key_id).tags.map(&:tag_value) == ['by ruby'], 'other tags')
listed = kms.list_keys(limit: 1).flat_map { |page| page.keys.map(&:key_id) }
check(listed.sort == [key, other].map(&:key_id).sort, 'other keys are listed')
days = (kms.schedule_key_deletion(key_id: other.key_id, pending_window_in_days: 7).deletion_date - Time.now) / 86_400
check(days.between?(6.9, 7.1), 'the deletion is for another day')
