"""The adapters to AWS: DynamoDB, SNS, SQS."""
