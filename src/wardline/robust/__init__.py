"""Room `robust`: defences against manipulated inputs and training data, and monitors for models in service.

Names are loaded when first used, so that importing the room does not load torch.
"""
