"""Speech over the network: HTTP as OpenAI's API has it. All of it is made by one thread."""
